"""Choose gradient boosting's rounds and depth after SMOTE, refit, and predict the test part (report §4.4)."""

from stages import run
from wbc.classical.gridsearch import importance, named, search
from wbc.classical.models import probabilities
from wbc.classical.table import test, training
from wbc.config import load
from wbc.data.tables import fingerprint, read_manifest, write_submission
from wbc.evaluate.scores import SCORES, confusion, per_class
from wbc.io import write_csv, write_json, write_npz


def main(repeat: str) -> None:
    config, backend = load("configs/gridsearch.yaml"), load("configs/compute.yaml").joblib_backend
    seed, name = config.seed + int(repeat), f"gridsearch-{repeat}"
    train, held = training("v2", int(repeat)), test("v2", int(repeat))
    found = search(config, seed, train.features, train.target, train.fold, backend)
    metrics = {"val_f1": found.best_score_, **named(found.best_params_)}
    grid = found.cv_results_
    points = [
        (*named(params).values(), mean, sd)
        for params, mean, sd in zip(grid["params"], grid["mean_test_score"], grid["std_test_score"], strict=True)
    ]
    write_csv(f"plots/gridsearch/{repeat}/grid.csv", ["n_estimators", "max_depth", "f1", "f1_sd"], points)

    means, deviations = importance(found.best_estimator_, train.features, train.target, train.fold, seed, backend)
    ranked = sorted(zip(train.names, means, deviations, strict=True), key=lambda row: -row[1])
    write_csv(f"plots/gridsearch/{repeat}/importance.csv", ["feature", "f1_lost", "sd"], ranked)

    tested = probabilities(found, held.features)
    predicted = tested.argmax(1)
    write_submission(f"data/predictions/{name}.csv", held.ids, predicted)
    arrays = [("test_ids", held.ids.astype(str)), ("test_targets", held.target), ("test_probabilities", tested)]
    write_npz(f"data/predictions/{name}.npz", arrays, fingerprint(read_manifest()))
    known = held.target >= 0
    actual, predicted = held.target[known], predicted[known]
    if known.any():
        metrics |= {f"test_{key}": score(actual, predicted) for key, score in SCORES.items()}
    write_json(f"metrics/gridsearch/{repeat}.json", metrics)
    write_csv(f"plots/gridsearch/{repeat}/confusion.csv", ["actual", "predicted"], confusion(actual, predicted))
    columns = ["class", "precision", "recall", "f1", "images"]
    write_csv(f"plots/gridsearch/{repeat}/per_class.csv", columns, per_class(actual, predicted))
    shown = (f"{key} {value:.4g}" for key, value in metrics.items())
    print(f"best of {len(points)}: " + ", ".join(shown))


if __name__ == "__main__":
    run(main)
