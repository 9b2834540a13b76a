"""Predict the validation part, the test part and the external sets with one network, plainly and with TTA (§7.5)."""

from stages import run, say
from wbc.config.files import STUDY, load
from wbc.config.schema import TTA
from wbc.core.io import write_npz
from wbc.core.tables import RUNS, check, mark, write_submission
from wbc.network.explain import mistake_maps
from wbc.network.inference import choose_device
from wbc.network.model import load_model
from wbc.network.pixels import load_part, load_set
from wbc.scoring.predictions import Predictions, write_predictions
from wbc.scoring.scores import macro_f1

PARTS = ("validation", "test")


def main(row: str, repeat: str) -> None:
    settings, folder, device = load("predict"), RUNS / f"{row}-{repeat}", choose_device()
    check(folder / "train", f"train@{row}-{repeat}", STUDY)
    trained = load_model(folder / "train/model.safetensors")
    parts = {part: load_part(part, int(repeat), trained.settings["train"]["validation"], device) for part in PARTS}
    parts = {name: part for name, part in parts.items() if len(part.ids)}
    parts |= {name: load_set(name, device) for name in settings.sets}
    found, maps = {}, []
    for name, (ids, pixels, targets) in parts.items():
        ids, targets = ids.astype(str), targets.numpy()
        embeddings, plain = (each.numpy() for each in trained.outputs(pixels))
        tta = trained.probabilities(pixels, TTA(**settings.tta)).numpy()
        found[name] = Predictions(ids, targets, plain, tta, trained.novelty(pixels) if name != "validation" else None)
        if name == "validation":
            write_npz(
                folder / "predict/embeddings.npz", [("ids", ids), ("targets", targets), ("embeddings", embeddings)]
            )
        if name in PARTS:
            wrong, heats = mistake_maps(trained, pixels, targets, plain.argmax(1))
            maps += [(f"{name}/ids", ids[wrong]), (f"{name}/maps", heats)]
    write_predictions(folder / "predict/predictions.npz", found)
    write_npz(folder / "predict/maps.npz", maps)
    mark(folder / "predict", STUDY, *settings.sets)
    if "test" in found:
        write_submission(folder / "predict/submission.csv", found["test"].ids, found["test"].tta.argmax(1).tolist())
    shown = {name: macro_f1(it.target, it.tta.argmax(1)) for name, it in found.items() if (it.target >= 0).all()}
    say(f"{row}-{repeat}: macro F1 with TTA", shown)


if __name__ == "__main__":
    run(main)
