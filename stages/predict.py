"""Predict the validation and test parts with one trained row, plainly and with test-time augmentation."""

from stages import run
from wbc.config import load
from wbc.data.tables import read_manifest, write_submission
from wbc.evaluate.calibration import calibrated, reliability
from wbc.evaluate.intervals import bounded, patients
from wbc.evaluate.scores import SCORES, confusion, per_class
from wbc.io import write_csv, write_json, write_npz
from wbc.network.inference import choose_device
from wbc.network.model import load_model
from wbc.network.pixels import load_part


def main(name: str) -> None:
    row = load(f"configs/{name}.yaml")
    device = choose_device()
    trained = load_model(f"models/{name}.safetensors")
    metrics, arrays, submission = {}, [], ([], [])
    pairs = {"validation": [], "test": []}  # without TTA, as in the report's Figures 9, 11 and 13
    labelled = {}  # by part and way: targets and probabilities of the images whose class is known
    for part, short in (("validation", "val"), ("test", "test")):
        ids, pixels, targets = load_part(part, row.train.validation, device)
        if not len(ids):
            continue
        targets = targets.numpy()
        ways = {"": trained.probabilities(pixels), "_tta": trained.probabilities(pixels, row.tta)}
        arrays += [(f"{short}_ids", ids.astype(str)), (f"{short}_targets", targets)]
        if part == "test":
            submission = ids, ways["_tta"].argmax(1).tolist()
        known = targets >= 0
        for way, probabilities in ways.items():
            probabilities = probabilities.numpy()
            arrays.append((f"{short}_probabilities{way}", probabilities))
            target, predicted = targets[known], probabilities.argmax(1)[known]
            if known.any():
                labelled[part, way] = target, probabilities[known]
                metrics |= {f"{short}_{key}{way}": score(target, predicted) for key, score in SCORES.items()}
            if part == "test":  # alone, as the validation part chose the epoch: an interval would promise too much
                metrics |= bounded(targets, probabilities.argmax(1), patients(read_manifest(), ids), way)
            if not way:
                pairs[part] = confusion(target, predicted)
            if part == "validation" and not way:
                columns = ["class", "precision", "recall", "f1", "images"]
                write_csv(f"plots/predict/{name}/per_class.csv", columns, per_class(targets, predicted))

    errors, curves = [], []
    for way, words in (("", "plain"), ("_tta", "with TTA")):
        if test := labelled.get(("test", way)):
            target, probabilities = test
            errors += [(words, *found.values()) for found in calibrated(*test, labelled.get(("validation", way)))]
            curve = reliability(probabilities.argmax(1) == target, probabilities.max(1))
            curves += [(words, confidence, right, int(images)) for confidence, right, images in curve]
    columns = ["probabilities", "temperature", "ece", "ece_by_chance", "classwise_ece", "nll", "brier"]
    write_csv(f"plots/predict/{name}/calibration.csv", columns, errors)
    write_csv(f"plots/predict/{name}/reliability.csv", ["probabilities", "confidence", "right", "images"], curves)
    write_csv(f"plots/predict/{name}/confusion.csv", ["actual", "predicted"], pairs["validation"])
    write_csv(f"plots/predict/{name}/confusion_test.csv", ["actual", "predicted"], pairs["test"])
    write_npz(f"data/predictions/{name}.npz", arrays)
    write_submission(f"data/predictions/{name}.csv", *submission)
    write_json(f"metrics/predict/{name}.json", metrics)
    shown = {key: value for key, value in metrics.items() if key.partition("_")[2] in ("f1", "f1_tta")}
    print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in shown.items()))


if __name__ == "__main__":
    run(main)
