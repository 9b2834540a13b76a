"""Choose gradient boosting's rounds and depth after SMOTE, refit, and predict the test part (report §4.4)."""

from stages import run
from wbc.classes import CLASSES
from wbc.classical.gridsearch import search
from wbc.classical.table import test, training
from wbc.config import GridSearch, load
from wbc.io import write_csv, write_json
from wbc.metrics import accuracy, confusion, macro_f1, per_class


def main() -> None:
    config = load("configs/gridsearch.yaml")
    seed = config.pop("seed")
    train, held = training("v2"), test("v2")
    found = search(GridSearch(**config), seed, train.features, train.target, train.fold)
    rounds, depth = found.best_params_.values()
    metrics = {"val_f1": found.best_score_, "n_estimators": rounds, "max_depth": depth}

    grid = found.cv_results_
    columns = ("params", "mean_test_score", "std_test_score")
    points = [(*params.values(), mean, sd) for params, mean, sd in zip(*(grid[c] for c in columns), strict=True)]
    write_csv("plots/gridsearch/grid.csv", ["n_estimators", "max_depth", "f1", "f1_sd"], points)

    predicted = found.predict(held.features)
    labels = [CLASSES[target] for target in predicted]
    write_csv("data/predictions/gridsearch.csv", ["ID", "labels"], zip(held.ids, labels, strict=True))
    known = held.target >= 0
    actual, predicted = held.target[known], predicted[known]
    if known.any():
        metrics |= {"test_f1": macro_f1(actual, predicted), "test_accuracy": accuracy(actual, predicted)}
    write_json("metrics/gridsearch.json", metrics)
    write_csv("plots/gridsearch/confusion.csv", ["actual", "predicted"], confusion(actual, predicted))
    write_csv(
        "plots/gridsearch/per_class.csv", ["class", "precision", "recall", "f1", "images"], per_class(actual, predicted)
    )
    print(
        f"best of {len(points)}: {rounds} rounds of depth {depth}: "
        + ", ".join(f"{k} {v:.3f}" for k, v in metrics.items() if "_" in k and k != "max_depth" and k != "n_estimators")
    )


if __name__ == "__main__":
    run(main)
