"""Choose gradient boosting's rounds and depth after SMOTE, refit, and predict the test part (report §4.4)."""

from stages import run, say
from wbc.classical.gridsearch import importance, named, search
from wbc.classical.models import probabilities
from wbc.classical.table import test, training
from wbc.config.files import STUDY, load
from wbc.core.io import write_csv, write_json
from wbc.core.tables import RUNS, mark, write_submission
from wbc.scoring.predictions import Predictions, write_predictions


def main(repeat: str) -> None:
    settings, backend = load("gridsearch", repeat=int(repeat)), load("machine").joblib_backend
    out = RUNS / f"v2-{repeat}/gridsearch"
    train, held = training("v2", int(repeat)), test("v2", int(repeat))
    found = search(settings, settings.seed, train.features, train.target, train.fold, backend)
    metrics = {"val_f1": found.best_score_, **named(found.best_params_)}
    grid = found.cv_results_
    points = [
        (*named(params).values(), mean, sd)
        for params, mean, sd in zip(grid["params"], grid["mean_test_score"], grid["std_test_score"], strict=True)
    ]
    write_csv(out / "grid.csv", ["n_estimators", "max_depth", "f1", "f1_sd"], points)
    of_search = found.best_estimator_, train.features, train.target, train.fold, settings.seed, backend
    ranked = sorted(zip(train.names, *importance(*of_search), strict=True), key=lambda row: -row[1])
    write_csv(out / "importance.csv", ["feature", "f1_lost", "sd"], ranked)
    tested = probabilities(found, held.features)
    write_submission(out / "submission.csv", held.ids, tested.argmax(1))
    parts = {"test": Predictions(held.ids.astype(str), held.target, tested)}
    write_predictions(out / "predictions.npz", parts)
    mark(out, STUDY)
    write_json(RUNS / f"v2-{repeat}/gridsearch.json", metrics)
    say(f"best of {len(points)}", metrics)


if __name__ == "__main__":
    run(main)
