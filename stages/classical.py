"""Cross-validate one classifier on one feature set (report, Tables 3 and 4)."""

import numpy as np

from stages import run
from wbc.classical.models import classifiers, cross_validate
from wbc.classical.table import training
from wbc.config import load
from wbc.evaluate.scores import accuracy, confusion, macro_f1
from wbc.io import write_csv, write_json


def main(features: str, name: str) -> None:
    config, backend = load("configs/classical.yaml"), load("configs/compute.yaml").joblib_backend
    data = training(features)
    # Table 3 is without class weights, Table 4 with; so is what somebody adds
    model = classifiers(config.implementation, balanced=features != "v1", seed=config.seed)[name]
    predicted = cross_validate(model, data.features, data.target, data.fold, backend)

    scores = [
        (accuracy(data.target[held], predicted[held]), macro_f1(data.target[held], predicted[held]))
        for held in (data.fold == fold for fold in np.unique(data.fold))
    ]
    (mean_accuracy, mean_f1), (accuracy_sd, f1_sd) = np.mean(scores, 0), np.std(scores, 0, ddof=1)
    values = {"f1": mean_f1, "f1_sd": f1_sd, "accuracy": mean_accuracy, "accuracy_sd": accuracy_sd}
    write_json(f"metrics/classical/{features}-{name}.json", values)
    write_csv(f"plots/classical/{features}-{name}.csv", ["actual", "predicted"], confusion(data.target, predicted))
    print(f"{features} {name}: macro F1 {mean_f1:.3f} ± {f1_sd:.3f}, accuracy {mean_accuracy:.3f}, {len(scores)} folds")


if __name__ == "__main__":
    run(main)
