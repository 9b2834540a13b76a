"""Classical models on a Dask cluster of this machine, at the size that `benchmarks.scale` left.

    python -m benchmarks.cluster FOLDER

Cross-validates, on the set `v1` of FOLDER/study, the models whose time grows with the number of images alone (an SVM's
grows with its square) and prints the wall time of each, and whether a smaller part gives the same bytes without Dask.
"""

import argparse
import contextlib
import time
from pathlib import Path

import numpy as np

from wbc.config.files import STUDY

MODELS = ("lda", "gradient_boosting", "logistic_regression")
PART = 20  # of the images, for the comparison


def main() -> None:
    from wbc.classical.models import classifiers, cross_validate
    from wbc.core.tables import read_features, read_manifest, read_split, targets

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS)
    arguments = parser.parse_args()
    with contextlib.chdir(arguments.folder / "study"):
        manifest, fold, features = read_manifest(), read_split("folds", 0), read_features(STUDY, "v1").to_numpy()
    features, target, fold = (each[fold >= 0] for each in (features, targets(manifest), fold))
    known = {name: model for name, model in classifiers("hist", False, 0).items() if name in arguments.models}
    print(f"{len(target):,} images, {features.shape[1]} features, {len(np.unique(fold))} folds")
    for name, model in known.items():
        some = [each[::PART] for each in (features, target, fold)]
        one, other = (cross_validate({name: model}, *some, backend)[name] for backend in ("loky", "dask"))
        same = np.array_equal(one.out_of_fold, other.out_of_fold)
        start = time.perf_counter()
        found = cross_validate({name: model}, features, target, fold, "dask")[name]
        right = (found.out_of_fold.argmax(1) == target).mean()
        seconds = time.perf_counter() - start
        print(
            f"{name}: {seconds:.0f} s, accuracy {right:.3f}; 1/{PART} the same bytes without Dask: {same}", flush=True
        )


if __name__ == "__main__":
    main()
