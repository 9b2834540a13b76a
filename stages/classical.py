"""Cross-validate the classifiers on one feature set (report, Tables 3 and 4), and predict the test part with each."""

import numpy as np

from stages import run
from wbc.classical.model import Classical, reference, save_classical
from wbc.classical.models import classifiers, cross_validate
from wbc.classical.table import test, training
from wbc.config.files import STUDY, load
from wbc.core.io import write_csv
from wbc.core.tables import RUNS, mark
from wbc.scoring.calibration import scaled, temperature
from wbc.scoring.predictions import Predictions, write_predictions
from wbc.scoring.scores import accuracy, macro_f1


def main(features: str, repeat: str) -> None:
    settings, backend = load("classical", features, int(repeat)), load("machine").joblib_backend
    train, held = training(features, int(repeat)), test(features, int(repeat))
    folds = [train.fold == fold for fold in np.unique(train.fold)]
    shown, out = np.unique(train.target), RUNS / f"{features}-{repeat}/classical"
    # Table 3 is without class weights, Table 4 with; so is what somebody adds
    models = classifiers(settings.implementation, balanced=features != "v1", seed=settings.seed)
    validated = cross_validate(models, train.features, train.target, train.fold, held.features, backend)
    around = reference(train.features, train.target, train.fold)

    lines = []
    for name, (found, tested, model) in validated.items():
        # LDA is overconfident, AdaBoost far from sure; the answers stay as they are; a class never shown has 0
        t = temperature(train.target, found)
        for probabilities in (found, tested):
            probabilities[:, shown] = scaled(probabilities[:, shown], t)
        kept = Classical(features, settings.masks, model, t, around)
        save_classical(out / f"{name}.skops", kept)
        parts = {
            "validation": Predictions(train.ids.astype(str), train.target, found),
            "test": Predictions(held.ids.astype(str), held.target, tested, novelty=kept.novelty(held.features)),
        }
        write_predictions(out / f"{name}.npz", parts)
        predicted = found.argmax(1)
        scores = [(name, macro_f1(*both), accuracy(*both)) for both in ((train.target[i], predicted[i]) for i in folds)]
        lines += scores
        print(f"{name}: macro F1 {np.mean([f1 for _, f1, _ in scores]):.3f} over {len(folds)} folds")
    mark(out, STUDY)
    write_csv(out / "folds.csv", ["classifier", "f1", "accuracy"], lines)


if __name__ == "__main__":
    run(main)
