"""The report's grid (§4.4) with scikit-learn's two gradient boostings: `exact`, the report's, and `hist`, the default.

    dvc repro features@v2 folds
    python -m benchmarks.boosting --json boosting.json

Scores: macro F1 of the same folds of the pipeline's 89 features after SMOTE, and their paired differences.

Time: what the report's grid would take at the challenge's size, one thread per fit. Rounds are measured on as many rows
as a training fold has after SMOTE, made from the same features, for every depth of the grid; a fit is its rounds times
one round's time and, for `hist`, the binning before.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from wbc.compute import pin

pin(1, "native")

from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from wbc.classes import CLASSES, TABLE_1  # noqa: E402
from wbc.classical.gridsearch import oversample  # noqa: E402
from wbc.classical.models import gradient_boosting, rounds_name  # noqa: E402
from wbc.classical.table import training  # noqa: E402
from wbc.config import read_yaml, resolve  # noqa: E402
from wbc.errors import UserError  # noqa: E402
from wbc.metrics import macro_f1  # noqa: E402

IMPLEMENTATIONS = ("exact", "hist")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="of the scored fits (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=3, help="of the scored fits (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    try:
        data = training("v2")
    except (OSError, UserError) as error:
        sys.exit(f"error: no features to fit ({error}); run: dvc repro features@v2 folds")
    grid = resolve(read_yaml("params.yaml") | {"profile": "report"})["gridsearch"]
    results = {
        "scores": scores(data, arguments.rounds, arguments.depth, grid["smote_neighbors"]),
        "hours": hours(data, grid),
    }
    show(results, arguments.rounds, arguments.depth)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def boosting(implementation: str, rounds: int, depth: int):
    model = gradient_boosting(implementation, seed=0)
    return model.set_params(**{rounds_name(implementation): rounds, "max_depth": depth})


def scores(data, rounds: int, depth: int, neighbors: int) -> dict[str, list[float]]:
    """Macro F1 of each fold, by implementation."""
    found = {implementation: [] for implementation in IMPLEMENTATIONS}
    for fold in np.unique(data.fold):
        held = data.fold == fold
        scale = StandardScaler().fit(data.features[~held])
        more, labels = oversample(scale.transform(data.features[~held]), data.target[~held], neighbors, seed=0)
        for implementation, values in found.items():
            model = boosting(implementation, rounds, depth).fit(more, labels)
            predicted = model.predict(scale.transform(data.features[held]))
            values.append(macro_f1(data.target[held], predicted))
    return found


def hours(data, grid: dict) -> dict[str, float]:
    """Core-hours of the report's grid and its refit, extrapolated from measured rounds."""
    folds = data.fold.max() + 1
    largest = max(TABLE_1.values())
    rows = round(len(CLASSES) * largest * (folds - 1) / folds)
    more, labels = enlarged(data, rows)
    seconds = dict.fromkeys(IMPLEMENTATIONS, 0.0)
    for depth in grid["max_depth"]:
        exact = timed(GradientBoostingClassifier(n_estimators=1, max_depth=depth), more, labels)
        few, many = (timed(boosting("hist", rounds, depth), more, labels) for rounds in (2, 12))
        per_round, before = (many - few) / 10, few - 2 * (many - few) / 10
        print(f"depth {depth}, {rows:,} rows: a round takes {exact:.1f} s exact, {per_round:.2f} s hist", flush=True)
        for rounds in grid["n_estimators"]:
            seconds["exact"] += folds * rounds * exact
            seconds["hist"] += folds * (rounds * per_round + before)
    points = folds * len(grid["max_depth"]) * len(grid["n_estimators"])
    refit = (points + folds / (folds - 1)) / points  # one fit more, on all folds, taken as an average one
    return {implementation: float(value * refit / 3600) for implementation, value in seconds.items()}


def enlarged(data, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """As many rows as wanted, every class equally often, each between two cells of its class as SMOTE's are."""
    rng = np.random.default_rng(0)
    of = [data.features[data.target == c] for c in np.unique(data.target)]
    labels = np.arange(rows) % len(of)
    a, b = (np.stack([of[c][rng.integers(len(of[c]))] for c in labels]) for _ in range(2))
    return a + rng.random((rows, 1)) * (b - a), labels


def timed(model: GradientBoostingClassifier | HistGradientBoostingClassifier, features, target) -> float:
    """Seconds of CPU time of a fit."""
    started = time.process_time()
    model.fit(features, target)
    return time.process_time() - started


def show(results: dict, rounds: int, depth: int) -> None:
    """Print the figures as Markdown."""
    exact, hist = (np.array(results["scores"][implementation]) for implementation in IMPLEMENTATIONS)
    print(f"\n| {rounds} rounds of depth {depth} | macro F1, mean ± sd of {len(exact)} folds | report's grid |")
    print("| --- | --- | --- |")
    for name, values in (("exact", exact), ("hist", hist)):
        spread = f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
        print(f"| {name} | {spread} | {results['hours'][name]:,.1f} core-hours |")
    paired = hist - exact
    print(f"\nhist - exact, paired: {paired.mean():+.3f} ± {paired.std(ddof=1):.3f}; ", end="")
    print(f"time ratio {results['hours']['exact'] / results['hours']['hist']:.0f}×")


if __name__ == "__main__":
    main()
