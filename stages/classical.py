"""Cross-validate the classifiers on one feature set (report, Tables 3 and 4), and predict the test part with each."""

import numpy as np

from wbc.classical.model import calibrate, fit_reference, save_classical
from wbc.classical.models import classifiers, cross_validate
from wbc.classical.table import read_parts
from wbc.config.files import STUDY, load
from wbc.core.io import write_csv
from wbc.core.tables import RUNS, mark
from wbc.scoring.predictions import write_predictions
from wbc.scoring.scores import accuracy, macro_f1


def main(features: str, repeat: str) -> None:
    settings, out = load(f"classical/{features}", int(repeat)), RUNS / f"{features}-{repeat}/classical"
    train, test = read_parts(features, int(repeat))
    folds, lines = [train.fold == fold for fold in np.unique(train.fold)], []
    # Table 3 has no class weights, Table 4 has them
    models = classifiers(settings.implementation, balanced=features != "v1", seed=settings.seed)
    reference = fit_reference(train.features, train.target, train.fold)
    for name, result in cross_validate(models, train.features, train.target, train.fold).items():
        model, parts = calibrate(features, settings.masks, result, train, test, reference)
        save_classical(out / f"{name}.skops", model)
        write_predictions(out / f"{name}.npz", parts)
        predicted = parts["validation"].probabilities.argmax(1)
        scores = [(name, macro_f1(*both), accuracy(*both)) for both in ((train.target[i], predicted[i]) for i in folds)]
        lines += scores
        print(f"{name}: macro F1 {np.mean([f1 for _, f1, _ in scores]):.3f} over {len(folds)} folds")
    write_csv(out / "folds.csv", ["classifier", "f1", "accuracy"], lines)
    mark(out, STUDY)
