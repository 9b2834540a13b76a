"""Cross-validate the classifiers on one feature set (report, Tables 3 and 4), and predict the test part with each."""

import numpy as np

from stages import run
from wbc.classical.linear import linear, reference, save_linear
from wbc.classical.models import classifiers, cross_validate
from wbc.classical.table import test, training
from wbc.config import load
from wbc.data.tables import fingerprint, read_manifest
from wbc.evaluate.calibration import scaled, temperature
from wbc.evaluate.scores import SCORES, accuracy, confusion, macro_f1
from wbc.io import write_csv, write_json, write_npz


def main(features: str, repeat: str) -> None:
    config, backend = load("configs/classical.yaml"), load("configs/compute.yaml").joblib_backend
    train, held = training(features, int(repeat)), test(features, int(repeat))
    folds, known = [train.fold == fold for fold in np.unique(train.fold)], held.target >= 0
    shown = np.unique(train.target)
    # Table 3 is without class weights, Table 4 with; so is what somebody adds
    models = classifiers(config.implementation, balanced=features != "v1", seed=config.seed + int(repeat))
    validated = cross_validate(models, train.features, train.target, train.fold, held.features, backend)

    around = reference(train.features, train.target, train.fold)

    metrics = {}
    arrays = [("out_of_fold_ids", train.ids.astype(str)), ("out_of_fold_targets", train.target)]
    arrays += [("test_ids", held.ids.astype(str)), ("test_targets", held.target)]
    for name, (found, tested, model) in validated.items():
        # LDA is overconfident, the SVM always certain; the answers stay as they are; a class never shown has 0
        t = temperature(train.target, found)
        for chances in (found, tested):
            chances[:, shown] = scaled(chances[:, shown], t)
        arrays += [(f"{name}_out_of_fold", found), (f"{name}_test", tested)]
        if model and (served := linear(model, features, config.masks[features], t, around)):
            save_linear(f"models/classical/{features}-{repeat}/{name}.safetensors", served)

        predicted, (target, of_test) = found.argmax(1), (held.target[known], tested[known].argmax(1))
        scores = [[score(train.target[part], predicted[part]) for score in (macro_f1, accuracy)] for part in folds]
        (mean_f1, mean_accuracy), (f1_sd, accuracy_sd) = np.mean(scores, 0), np.std(scores, 0, ddof=1)
        metrics[name] = {"f1": mean_f1, "f1_sd": f1_sd, "accuracy": mean_accuracy, "accuracy_sd": accuracy_sd}
        metrics[name]["temperature"] = t
        if known.any():
            metrics[name] |= {f"test_{key}": score(target, of_test) for key, score in SCORES.items()}
        confused = confusion(train.target, predicted)
        write_csv(f"plots/classical/{features}-{repeat}/{name}.csv", ["actual", "predicted"], confused)
        print(f"{name}: macro F1 {mean_f1:.3f} ± {f1_sd:.3f}, accuracy {mean_accuracy:.3f}, {len(folds)} folds")
    write_npz(f"data/predictions/{features}-{repeat}.npz", arrays, fingerprint(read_manifest()))
    write_json(f"metrics/classical/{features}-{repeat}.json", metrics)


if __name__ == "__main__":
    run(main)
