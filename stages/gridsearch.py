"""Choose gradient boosting's rounds and depth after SMOTE, refit, and predict the test part (report §4.4)."""

from stages import run
from wbc.classical.gridsearch import importance, named, search
from wbc.classical.table import test, training
from wbc.config import load
from wbc.data.tables import read_manifest, write_submission
from wbc.evaluate.intervals import bounded, patients
from wbc.evaluate.scores import confusion, per_class
from wbc.io import write_csv, write_json


def main() -> None:
    config, backend = load("configs/gridsearch.yaml"), load("configs/compute.yaml").joblib_backend
    seed = config.seed
    train, held = training("v2"), test("v2")
    found = search(config, seed, train.features, train.target, train.fold, backend)
    metrics = {"val_f1": found.best_score_, **named(found.best_params_)}
    grid = found.cv_results_
    points = [
        (*named(params).values(), mean, sd)
        for params, mean, sd in zip(grid["params"], grid["mean_test_score"], grid["std_test_score"], strict=True)
    ]
    write_csv("plots/gridsearch/grid.csv", ["n_estimators", "max_depth", "f1", "f1_sd"], points)

    means, deviations = importance(found.best_estimator_, train.features, train.target, train.fold, seed, backend)
    ranked = sorted(zip(train.names, means, deviations, strict=True), key=lambda row: -row[1])
    write_csv("plots/gridsearch/importance.csv", ["feature", "f1_lost", "sd"], ranked)

    predicted = found.predict(held.features)
    write_submission("data/predictions/gridsearch.csv", held.ids, predicted)
    metrics |= bounded(held.target, predicted, patients(read_manifest(), held.ids))
    known = held.target >= 0
    actual, predicted = held.target[known], predicted[known]
    write_json("metrics/gridsearch.json", metrics)
    write_csv("plots/gridsearch/confusion.csv", ["actual", "predicted"], confusion(actual, predicted))
    write_csv(
        "plots/gridsearch/per_class.csv", ["class", "precision", "recall", "f1", "images"], per_class(actual, predicted)
    )
    shown = (f"{key} {value:.4g}" for key, value in metrics.items() if not key.endswith(("_low", "_high")))
    print(f"best of {len(points)}: " + ", ".join(shown))


if __name__ == "__main__":
    run(main)
