"""How well wrong labels are found: `python -m wbc label-check`'s order against cleanlab's (`pip install cleanlab`).

    dvc repro features@study && python -m benchmarks.labels

A share of the sample's training labels is exchanged, for any class or for the one that looks most alike, LDA on `v3` is
cross-validated on what is then given, and each order of the cells is scored by how early the exchanged ones come: mean
average precision of five draws, and how many of the first as many are exchanged.
"""

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from wbc.classical.models import classifiers
from wbc.config.files import STUDY
from wbc.core.classes import CLASSES
from wbc.core.tables import read_features, read_manifest, targets
from wbc.scoring.calibration import scaled, temperature

ALIKE = {"SNE": "BNE", "LY": "VLY", "MO": "VLY", "BL": "PMY", "EO": "SNE", "MY": "MMY", "BA": "EO", "BNE": "SNE"}
ALIKE |= {"VLY": "LY", "MMY": "MY", "PMY": "MMY", "PC": "LY", "PLY": "LY"}
DRAWS, FOLDS = 5, 5


def main() -> None:
    manifest = read_manifest()
    train = ((manifest["part"] == "train") & (manifest["label"] != "")).to_numpy()
    features, true = read_features(STUDY, "v3").to_numpy()[train], targets(manifest)[train]
    alike = np.array([CLASSES.index(ALIKE[label]) for label in CLASSES])
    model = classifiers("hist", True, 0)["lda"]
    rng, found = np.random.default_rng(0), []
    for kind in ("any", "alike"):
        for share in (0.02, 0.05, 0.1):
            for draw in range(DRAWS):
                wrong = rng.random(len(true)) < share
                other = alike[true] if kind == "alike" else (true + rng.integers(1, 13, len(true))) % len(CLASSES)
                given = np.where(wrong, other, true)
                folds = StratifiedKFold(FOLDS, shuffle=True, random_state=draw)
                chances = cross_val_predict(model, features, given, cv=folds, method="predict_proba")
                chances = scaled(chances, temperature(given, chances))
                for order, doubt in orders(given, chances).items():
                    first = np.argsort(-doubt, kind="stable")[: wrong.sum()]
                    found.append((kind, share, order, average_precision_score(wrong, doubt), wrong[first].mean()))
                issues = find_label_issues(given, chances, n_jobs=1)
                found.append(
                    (kind, share, "confident learning: flagged / exchanged", issues.sum() / wrong.sum(), np.nan)
                )
    columns = ["exchanged for", "share", "order", "average precision", "of the first"]
    table = pd.DataFrame(found, columns=columns).groupby(columns[:3]).mean()
    print(table.round(3).to_string())


def orders(given: np.ndarray, chances: np.ndarray) -> dict[str, np.ndarray]:
    """By name, (N,) doubt in each label; the first is `wbc.report.labels`'."""
    found = {"label-check": 1 - chances[np.arange(len(given)), given]}
    for method in ("normalized_margin", "confidence_weighted_entropy"):
        found[f"cleanlab, {method}"] = 1 - get_label_quality_scores(given, chances, method=method)
    adjusted = get_label_quality_scores(given, chances, method="self_confidence", adjust_pred_probs=True)
    return found | {"cleanlab, self_confidence, adjusted by class": 1 - adjusted}


if __name__ == "__main__":
    main()
