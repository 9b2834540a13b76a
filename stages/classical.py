"""Cross-validate one classifier on one feature set (report, Tables 3 and 4), and predict the test part with it."""

import numpy as np

from stages import run
from wbc.classical.models import classifiers, cross_validate
from wbc.classical.table import test, training
from wbc.config import load
from wbc.evaluate.calibration import scaled, temperature
from wbc.evaluate.scores import SCORES, accuracy, confusion, macro_f1
from wbc.io import write_csv, write_json, write_npz


def main(features: str, name: str, repeat: str) -> None:
    config, backend = load("configs/classical.yaml"), load("configs/compute.yaml").joblib_backend
    train, held = training(features, int(repeat)), test(features, int(repeat))
    # Table 3 is without class weights, Table 4 with; so is what somebody adds
    model = classifiers(config.implementation, balanced=features != "v1", seed=config.seed + int(repeat))[name]
    name = f"{features}-{name}-{repeat}"
    found, tested = cross_validate(model, train.features, train.target, train.fold, held.features, backend)
    # LDA is overconfident; a temperature leaves the answers as they are, and of the SVM's it makes less than certainty
    heat = temperature(train.target, found)
    found, tested = scaled(found, heat), scaled(tested, heat)

    predicted = found.argmax(1)
    scores = [
        (accuracy(train.target[part], predicted[part]), macro_f1(train.target[part], predicted[part]))
        for part in (train.fold == fold for fold in np.unique(train.fold))
    ]
    (mean_accuracy, mean_f1), (accuracy_sd, f1_sd) = np.mean(scores, 0), np.std(scores, 0, ddof=1)
    metrics = {"f1": mean_f1, "f1_sd": f1_sd, "accuracy": mean_accuracy, "accuracy_sd": accuracy_sd}
    metrics["temperature"] = heat
    known = held.target >= 0
    if known.any():
        target, of_test = held.target[known], tested[known].argmax(1)
        metrics |= {f"test_{key}": score(target, of_test) for key, score in SCORES.items()}
    write_json(f"metrics/classical/{name}.json", metrics)
    write_csv(f"plots/classical/{name}.csv", ["actual", "predicted"], confusion(train.target, predicted))
    arrays = [("out_of_fold_ids", train.ids.astype(str)), ("out_of_fold_targets", train.target)]
    arrays += [("out_of_fold_probabilities", found), ("test_ids", held.ids.astype(str))]
    write_npz(f"data/predictions/{name}.npz", [*arrays, ("test_targets", held.target), ("test_probabilities", tested)])
    print(f"{name}: macro F1 {mean_f1:.3f} ± {f1_sd:.3f}, accuracy {mean_accuracy:.3f}, {len(scores)} folds")


if __name__ == "__main__":
    run(main)
