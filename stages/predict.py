"""Predict the validation and test parts with one trained row, plainly and with test-time augmentation."""

from stages import run
from wbc.config import load
from wbc.data.tables import write_submission
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
            arrays.append((f"{short}_probabilities{way}", probabilities.numpy()))
            predicted = probabilities.argmax(1).numpy()[known]
            if known.any():
                metrics |= {f"{short}_{key}{way}": score(targets[known], predicted) for key, score in SCORES.items()}
            if not way:
                pairs[part] = confusion(targets[known], predicted)
            if part == "validation" and not way:
                columns = ["class", "precision", "recall", "f1", "images"]
                write_csv(f"plots/predict/{name}/per_class.csv", columns, per_class(targets, predicted))
    write_csv(f"plots/predict/{name}/confusion.csv", ["actual", "predicted"], pairs["validation"])
    write_csv(f"plots/predict/{name}/confusion_test.csv", ["actual", "predicted"], pairs["test"])
    write_npz(f"data/predictions/{name}.npz", arrays)
    write_submission(f"data/predictions/{name}.csv", *submission)
    write_json(f"metrics/predict/{name}.json", metrics)
    print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in metrics.items() if "_f1" in key))


if __name__ == "__main__":
    run(main)
