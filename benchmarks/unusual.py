"""How well an image's score tells another laboratory's cells from those a network was trained on.

    python -m benchmarks.unusual FOLDER OUTSIDERS… --json unusual.json

FOLDER holds real cells in the project's layout (`images/` and `labels.csv`), OUTSIDERS are further folders, files or
patterns of cells, whose classes are not asked. The network of `--row`, which learned from the drawn sample, and another
with its settings, trained here on a part of FOLDER, each score a held-out part of their own laboratory's cells against
the others'.

For every score: AUROC, the share of its own cells that are flagged where 95% of the others are (FPR@95), and what is
flagged of both at the threshold that `classify` uses, 99 of 100 validation images. `ours` is `wbc.network.reference`,
the rest is pytorch-ood's, on the logits, on the head's middle layer (ViM, whose last layer is the classifier) or on the
pooled embedding. `Mahalanobis, embedding` is the distance of the last layer, as this project had it before.

Needs `dvc repro train@efficientnet-0`, or that of another row, and pytorch-ood.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from wbc.core.compute import pin
from wbc.core.errors import UserError

SHARES = {"test": 0.25, "validation": 0.15}  # of each class of FOLDER; the rest trains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds images/ and labels.csv")
    parser.add_argument("outsiders", nargs="*", help="folders, files or patterns of more cells")
    parser.add_argument("--row", default="efficientnet", help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    pin(2, "native")
    try:
        results = compare(arguments.folder, arguments.outsiders, arguments.row)
    except UserError as error:
        sys.exit(f"error: {error}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    for of, scores in results.items():
        show(of, scores)


def compare(folder: Path, outsiders: list[str], row_name: str) -> dict[str, dict]:
    """By training set and score: the `auroc`, `fpr95` and `flagged` share of each group of outsiders, and what is
    flagged of its own test part (`own`).
    """
    import numpy as np
    import torch

    from wbc.cli.classify import find_images
    from wbc.config.files import load
    from wbc.core.classes import CLASSES
    from wbc.core.tables import SUBMISSION
    from wbc.dataset.listing import read_rows
    from wbc.models.inputs import read_inputs
    from wbc.network.inference import choose_device
    from wbc.network.model import load_model
    from wbc.network.pixels import Part, Pixels, load_part
    from wbc.train.engine import fit

    row, device = load("train", row_name), choose_device()
    drawn = {name: load_part(name, 0, row.train.validation, device) for name in ("train", "validation", "test")}
    trained = load_model(f"runs/{row_name}-0/train/model.safetensors")

    def part(files, targets=None) -> Part:
        seen = [read_inputs(Path(file), (trained.size, trained.crop), None) for file in files]
        for file, each in zip(files, seen, strict=True):
            if isinstance(each, str):
                raise UserError(f"{file}: {each}")
        images = np.stack([each.pixels for each in seen])
        targets = torch.full((len(files),), -1) if targets is None else torch.from_numpy(targets)
        return Part(np.array(files, str), Pixels(images, np.arange(len(files)), device), targets)

    listed = read_rows(folder / "labels.csv", SUBMISSION)
    files = np.array([folder / "images" / line["ID"] for line in listed])
    targets = np.array([CLASSES.index(line["labels"]) for line in listed])
    place = np.empty(len(files))  # from 0 to 1 within each class, at random
    generator = np.random.default_rng(0)
    for target in np.unique(targets):
        chosen = generator.permutation(np.flatnonzero(targets == target))
        place[chosen] = (np.arange(len(chosen)) + 0.5) / len(chosen)
    ends = np.cumsum([0, *SHARES.values(), 1])
    real = {
        name: part(files[chosen], targets[chosen])
        for name, low, high in zip([*SHARES, "train"], ends[:-1], ends[1:], strict=True)
        if (chosen := (low <= place) & (place < high)).any()
    }
    others = {pattern: part(find_images([pattern])) for pattern in outsiders}
    with tempfile.TemporaryDirectory() as scratch:
        model, normalisation, _ = fit(row, real["train"], real["validation"], Path(scratch) / "checkpoint.pt")
    return {
        "drawn": measure(trained, drawn, {str(folder): part(files)} | others),
        str(folder): measure(
            trained._replace(model=model, normalisation=normalisation), real, {"drawn": drawn["test"]} | others
        ),
    }


def measure(trained, own: dict, others: dict) -> dict:
    """Score the parts of a trained model's own laboratory and the others'."""
    import torch
    from pytorch_ood.detector import KNN, RMD, EnergyBased, MaxSoftmax, ViM
    from sklearn.metrics import roc_auc_score

    from wbc.network.reference import fit_reference
    from wbc.scoring.novelty import gaussians

    head = trained.model.head
    known = fit_reference(trained.model.backbone, trained.normalisation, own["train"], own["validation"])
    trained = trained._replace(reference=known)
    parts = own | others
    embedded = {name: trained.outputs(part.pixels)[0] for name, part in parts.items()}
    with torch.inference_mode():
        hidden = {name: head[:-1](values) for name, values in embedded.items()}
        logits = {name: head[-1](values) for name, values in hidden.items()}
    targets = own["train"].targets
    means, precision = gaussians(embedded["train"].numpy(), targets.numpy())
    knn = KNN(None, k=10).fit_features(embedded["train"], targets)
    vim = ViM(None, 64, head[-1].weight, head[-1].bias).fit_features(hidden["train"], targets)
    relative = RMD(None).fit_features(hidden["train"], targets.unique(return_inverse=True)[1])
    scores = {
        "max softmax": {name: MaxSoftmax(None).predict_logits(values) for name, values in logits.items()},
        "energy": {name: EnergyBased(None).predict_logits(values) for name, values in logits.items()},
        "ViM": {name: vim.predict_features(values) for name, values in hidden.items()},
        "kNN, embedding": {name: knn.predict_features(values) for name, values in embedded.items()},
        "relative Mahalanobis": {name: relative.predict_features(values) for name, values in hidden.items()},
        "Mahalanobis, embedding": {
            name: torch.from_numpy(known._replace(means=means, precision=precision).distance(values.numpy()))
            for name, values in embedded.items()
        },
        "ours": {name: torch.from_numpy(trained.novelty(part.pixels)) for name, part in parts.items()},
    }

    def against(score: dict, name: str) -> dict[str, float]:
        inside, outside = score["test"].double(), score[name].double()
        truth = [0] * len(inside) + [1] * len(outside)
        return {
            "auroc": roc_auc_score(truth, torch.cat([inside, outside])),
            "fpr95": (inside >= outside.quantile(0.05)).double().mean().item(),
            "flagged": (outside > score["validation"].double().quantile(0.99)).double().mean().item(),
        }

    return {
        label: {name: against(score, name) for name in others}
        | {"own": (score["test"] > score["validation"].quantile(0.99)).double().mean().item()}
        for label, score in scores.items()
    }


def show(of: str, scores: dict) -> None:
    print(f"\ntrained on {of}; AUROC, FPR@95, flagged")
    for label, score in scores.items():
        own = score.pop("own")
        cells = [
            f"{name} {each['auroc']:.3f} {each['fpr95']:.2f} {each['flagged']:.2f}" for name, each in score.items()
        ]
        print(f"  {label:24}{' | '.join(cells)} | own flagged {own:.3f}")


if __name__ == "__main__":
    main()
