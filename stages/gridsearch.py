"""Choose gradient boosting's rounds and depth after SMOTE, refit, and predict the test part (report §4.4)."""

from stages import say
from wbc.classical.gridsearch import grid_point, importance, search, without_smote
from wbc.classical.model import calibrate, fit_reference, save_classical
from wbc.classical.models import cross_validate
from wbc.classical.table import read_parts
from wbc.config.files import STUDY, load
from wbc.core.io import write_csv, write_json
from wbc.core.tables import RUNS
from wbc.scoring.predictions import write_run

FEATURES = "v2"


def main(repeat: str) -> None:
    settings, out = load("gridsearch", int(repeat)), RUNS / f"{FEATURES}-{repeat}/gridsearch"
    train, test = read_parts(FEATURES, int(repeat))
    data = train.features, train.target, train.fold
    found = search(settings, settings.seed, *data)
    grid, metrics = found.cv_results_, {"val_f1": found.best_score_, **grid_point(found.best_params_)}
    means, deviations = grid["mean_test_score"], grid["std_test_score"]
    points = [
        (*grid_point(params).values(), *f1) for params, *f1 in zip(grid["params"], means, deviations, strict=True)
    ]
    write_csv(out / "grid.csv", ["n_estimators", "max_depth", "f1", "f1_sd"], points)
    best = found.estimator.set_params(**found.best_params_)
    ranked = sorted(zip(train.names, *importance(best, *data, settings.seed), strict=True), key=lambda row: -row[1])
    write_csv(out / "importance.csv", ["feature", "f1_lost", "sd"], ranked)
    refit = cross_validate({"best": best}, *data)["best"]
    refit = refit._replace(model=without_smote(refit.model))
    model, parts = calibrate(FEATURES, settings.masks, refit, train, test, fit_reference(*data))
    save_classical(out / "gridsearch.skops", model)
    write_run(out, parts, STUDY)
    write_json(f"{out}.json", metrics)
    say(f"best of {len(points)}", metrics)
