"""What SMOTE and the grid's implementation of boosting change, on the test part of a study.

    python -m benchmarks.oversampling .scratch/studies/pbc_tail

In the folder of a finished study. Every model is fitted on the training part once, with scikit-learn's defaults and
the same seed, with and without SMOTE (k = 3); `exact` and `hist` grow trees of depth 3 in 100 rounds. Macro F1 on the
test part, and the difference from the model without SMOTE, or from `hist`, with its 95% bootstrap interval.
"""

import argparse
import os
import time
from pathlib import Path

from wbc.core.compute import pin

NEIGHBORS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a study")
    os.chdir(parser.parse_args().folder)
    pin(1, "native")  # before NumPy is imported

    import numpy as np
    from joblib import Parallel, delayed

    from wbc.classical.table import read_parts
    from wbc.scoring.scores import macro_f1
    from wbc.statistics import differences

    kinds = [
        (features, model, smote)
        for features in ("v2", "v3")
        for model in ("logistic_regression", "logistic_regression, balanced", "svm_tuned", "hist", "exact")
        for smote in (False, True)
    ]
    parts = {features: read_parts(features, 0) for features in ("v2", "v3")}
    predicted = Parallel(-1)(delayed(fit)(*parts[features], model, smote) for features, model, smote in kinds)
    found, target = dict(zip(kinds, predicted, strict=True)), parts["v2"][1].target
    print("| features | model | SMOTE | F1 | difference | seconds |\n| --- | --- | --- | ---: | ---: | ---: |")
    for (features, model, smote), (labels, seconds) in found.items():
        other = (features, model, False) if smote else (features, "hist", smote) if model == "exact" else None
        words = "–"
        if other:
            it = differences(target, labels, found[other][0])["f1"]
            words = f"{it.value:+.3f} ({it.low:+.3f} to {it.high:+.3f}) {it.verdict}"
        f1 = macro_f1(target, np.asarray(labels))
        print(f"| {features} | {model} | {'yes' if smote else 'no'} | {f1:.3f} | {words} | {seconds:.0f} |")


def fit(train, test, name: str, smote: bool):
    """Predictions of the test part, and the time of the fit."""
    from sklearn.preprocessing import StandardScaler

    from wbc.classical.gridsearch import oversample
    from wbc.classical.models import classifiers, probabilities

    scale, started = StandardScaler().fit(train.features), time.perf_counter()
    features, target = scale.transform(train.features), train.target
    if smote:
        features, target = oversample(features, target, NEIGHBORS, seed=0)
    implementation = "exact" if name == "exact" else "hist"
    boost = name in ("exact", "hist")
    models = classifiers(implementation, balanced="balanced" in name, seed=0)
    model = models["gradient_boosting" if boost else name.split(",")[0]][-1].fit(features, target)
    return probabilities(model, scale.transform(test.features)).argmax(1), time.perf_counter() - started


if __name__ == "__main__":
    main()
