"""Predict the validation and the test part with one trained row, plainly and with test-time augmentation."""

from stages import run
from wbc.config import load_row
from wbc.data.tables import fingerprint, read_manifest, write_submission
from wbc.evaluate.scores import SCORES, confusion, per_class
from wbc.io import write_csv, write_json, write_npz
from wbc.network.inference import choose_device
from wbc.network.model import load_model
from wbc.network.pixels import load_part
from wbc.use.explain import of_mistakes


def main(name: str, repeat: str) -> None:
    row, name = load_row(name, int(repeat)), f"{name}-{repeat}"
    device, mark = choose_device(), fingerprint(read_manifest())
    trained = load_model(f"models/{name}.safetensors")
    metrics, arrays, maps, submission = {}, [], [], ([], [])
    pairs = {"validation": [], "test": []}  # without TTA, as in the report's Figures 9, 11 and 13
    for part, short in (("validation", "val"), ("test", "test")):
        ids, pixels, targets = load_part(part, int(repeat), row.train.validation, device)
        if not len(ids):
            continue
        ids, targets = ids.astype(str), targets.numpy()
        embeddings, plain = trained.outputs(pixels)
        ways = {"": plain, "_tta": trained.probabilities(pixels, row.tta)}
        arrays += [(f"{short}_ids", ids), (f"{short}_targets", targets)]
        arrays += [(f"{short}_probabilities{way}", found.numpy()) for way, found in ways.items()]
        known = targets >= 0
        for way, probabilities in ways.items():
            target, predicted = targets[known], probabilities.argmax(1).numpy()[known]
            if known.any():
                metrics |= {f"{short}_{key}{way}": score(target, predicted) for key, score in SCORES.items()}
            if not way:
                pairs[part] = confusion(target, predicted)
        wrong, heats = of_mistakes(trained, pixels, targets, plain.argmax(1).numpy())
        maps += [(f"{short}_ids", ids[wrong]), (f"{short}_maps", heats)]
        if part == "test":
            submission = ids, ways["_tta"].argmax(1).tolist()
        else:
            columns = ["class", "precision", "recall", "f1", "images"]
            write_csv(f"plots/predict/{name}/per_class.csv", columns, per_class(targets, plain.argmax(1).numpy()))
            kept = [("ids", ids), ("targets", targets), ("embeddings", embeddings.numpy())]
            write_npz(f"data/embeddings/{name}.npz", kept, mark)

    write_csv(f"plots/predict/{name}/confusion.csv", ["actual", "predicted"], pairs["validation"])
    write_csv(f"plots/predict/{name}/confusion_test.csv", ["actual", "predicted"], pairs["test"])
    write_npz(f"data/predictions/{name}.npz", arrays, mark)
    write_npz(f"data/evidence/{name}.npz", maps, mark)
    write_submission(f"data/predictions/{name}.csv", *submission)
    write_json(f"metrics/predict/{name}.json", metrics)
    shown = {key: value for key, value in metrics.items() if key.partition("_")[2] in ("f1", "f1_tta")}
    print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in shown.items()))


if __name__ == "__main__":
    run(main)
