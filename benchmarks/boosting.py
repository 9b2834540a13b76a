"""The report's grid (§4.4) with scikit-learn's two gradient boostings: `exact`, the report's, and `hist`, the default.

    dvc repro draw
    python -m benchmarks.boosting data/synthetic --json boosting.json

The folder is as `data.source=folder` takes it. Its training part serves, of Table 1's rarest class at most 11 images.

Scores: macro F1 of the 89 features after SMOTE, in stratified folds that are drawn several times, and the paired
differences.

Time: what the report's grid would take at the challenge's size, one thread per fit. Rounds are measured on as many rows
as a training fold has after SMOTE, made from the same features, for every depth of the grid; a fit is its rounds times
one round's time and, for `hist`, the binning before.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wbc.core.compute import pin

pin(1, "avx2")

from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier  # noqa: E402
from sklearn.model_selection import RepeatedStratifiedKFold  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from wbc.classical.gridsearch import oversample  # noqa: E402
from wbc.classical.models import ROUNDS, gradient_boosting  # noqa: E402
from wbc.config.files import read_yaml  # noqa: E402
from wbc.config.resolve import resolve  # noqa: E402
from wbc.core.classes import CLASSES, TABLE_1  # noqa: E402
from wbc.core.errors import UserError  # noqa: E402
from wbc.core.parallel import parallel_map  # noqa: E402
from wbc.dataset.images import decode  # noqa: E402
from wbc.features import feature_set  # noqa: E402
from wbc.scoring.scores import macro_f1  # noqa: E402
from wbc.segment import method  # noqa: E402
from wbc.sources import scan  # noqa: E402

IMPLEMENTATIONS = ("exact", "hist")
FOLDS = 5  # report §3.4


class Cells(NamedTuple):
    """N cells with their 89 features."""

    features: np.ndarray  # (N, 89) float64
    target: np.ndarray  # (N,) int64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of images and labels, as data.source=folder takes it")
    parser.add_argument("--draws", type=int, default=3, help="of the folds (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=100, help="of the scored fits (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=3, help="of the scored fits (default: %(default)s)")
    parser.add_argument("--scores-only", action="store_true", help="do not measure the time")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    try:
        data = measured(arguments.folder)
    except (OSError, UserError) as error:
        sys.exit(f"error: {error}")
    grid = resolve(read_yaml("params.yaml") | {"profile": "report"})["gridsearch"]
    counts = np.bincount(data.target)
    results = {
        "images": len(data.target),
        "rarest": int(counts[counts > 0].min()),
        "scores": scores(data, arguments.draws, arguments.rounds, arguments.depth, grid["smote_neighbors"]),
    }
    if not arguments.scores_only:
        results["hours"] = hours(data, grid)
    show(results, arguments.rounds, arguments.depth)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measured(folder: Path) -> Cells:
    """The folder's training images, of Table 1's rarest class no more than there."""
    items = [item for item in scan("folder", folder).items if item.part != "test"]
    rows = parallel_map(features, [(item.path,) for item in items], len(items), "features")
    cells = Cells(np.array(list(rows)), np.array([CLASSES.index(item.label) for item in items]))
    rarest = min(TABLE_1, key=TABLE_1.get)
    spare = np.flatnonzero(cells.target == CLASSES.index(rarest))[TABLE_1[rarest] :]
    return Cells(*(np.delete(values, spare, axis=0) for values in cells))


def features(path: Path) -> np.ndarray:
    image = decode(path.read_bytes())
    return feature_set("v2").extract(image, method("lab").segment(image))


def boosting(implementation: str, rounds: int, depth: int):
    model = gradient_boosting(implementation, seed=0)
    return model.set_params(**{ROUNDS[implementation]: rounds, "max_depth": depth})


def scores(data: Cells, draws: int, rounds: int, depth: int, neighbors: int) -> dict[str, list[float]]:
    """Macro F1 of each fold of each draw, by implementation."""
    folds = list(RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=draws, random_state=0).split(*data))
    fits = [(data, *fold, boosting(name, rounds, depth), neighbors) for fold in folds for name in IMPLEMENTATIONS]
    values = list(parallel_map(score, fits, len(fits), "fits"))
    return {name: values[i :: len(IMPLEMENTATIONS)] for i, name in enumerate(IMPLEMENTATIONS)}


def score(data: Cells, rest: np.ndarray, held: np.ndarray, model, neighbors: int) -> float:
    scale = StandardScaler().fit(data.features[rest])
    model.fit(*oversample(scale.transform(data.features[rest]), data.target[rest], neighbors, seed=0))
    return macro_f1(data.target[held], model.predict(scale.transform(data.features[held])))


def hours(data: Cells, grid: dict) -> dict[str, float]:
    """Core-hours of the report's grid and its refit, extrapolated from measured rounds."""
    rows = round(len(CLASSES) * max(TABLE_1.values()) * (FOLDS - 1) / FOLDS)
    more, labels = enlarged(data, rows)
    seconds = dict.fromkeys(IMPLEMENTATIONS, 0.0)
    for depth in grid["max_depth"]:
        exact = timed(GradientBoostingClassifier(n_estimators=1, max_depth=depth), more, labels)
        few, many = (timed(boosting("hist", rounds, depth), more, labels) for rounds in (2, 12))
        per_round, before = (many - few) / 10, few - 2 * (many - few) / 10
        print(f"depth {depth}, {rows:,} rows: a round takes {exact:.1f} s exact, {per_round:.2f} s hist", flush=True)
        for rounds in grid["n_estimators"]:
            seconds["exact"] += FOLDS * rounds * exact
            seconds["hist"] += FOLDS * (rounds * per_round + before)
    points = FOLDS * len(grid["max_depth"]) * len(grid["n_estimators"])
    refit = (points + FOLDS / (FOLDS - 1)) / points  # one fit more, on all folds, taken as an average one
    return {implementation: float(value * refit / 3600) for implementation, value in seconds.items()}


def enlarged(data: Cells, rows: int) -> tuple[np.ndarray, np.ndarray]:
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
    print(
        f"\n{results['images']:,} images, {results['rarest']} of the rarest class; {rounds} rounds of depth {depth}\n"
    )
    print(f"| | macro F1, mean ± sd of {len(exact)} folds | report's grid, core-hours |")
    print("| --- | --- | --- |")
    for name, values in (("exact", exact), ("hist", hist), ("hist - exact, paired", hist - exact)):
        time_ = f"{results['hours'][name]:,.1f}" if name in results.get("hours", ()) else "–"
        print(f"| {name} | {values.mean():.3f} ± {values.std(ddof=1):.3f} | {time_} |")


if __name__ == "__main__":
    main()
