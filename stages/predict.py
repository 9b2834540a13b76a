"""Predict the validation part, the test part and the external sets with one network, plainly and with TTA (§7.5)."""

from stages import say
from wbc.config.files import STUDY, load
from wbc.config.schema import TTA
from wbc.core.io import write_npz
from wbc.core.tables import RUNS, check
from wbc.network.explain import mistake_maps
from wbc.network.inference import choose_device
from wbc.network.model import load_model
from wbc.network.pixels import load_part, load_set
from wbc.scoring.predictions import Predictions, write_run


def main(row: str, repeat: str) -> None:
    settings, folder, device = load("predict"), RUNS / f"{row}-{repeat}", choose_device()
    check(folder / "train", f"train@{folder.name}", STUDY)
    network, out, predictions, maps = load_model(folder / "train/model.safetensors"), folder / "predict", {}, []
    fraction = network.settings["train"]["validation"]
    parts = {name: load_part(name, int(repeat), fraction, device, network.size) for name in ("validation", "test")}
    parts = {name: part for name, part in parts.items() if len(part.ids)}
    parts |= {name: load_set(name, device, network.size) for name in settings.sets}
    for name, (ids, pixels, targets) in parts.items():
        ids, targets = ids.astype(str), targets.numpy()
        embeddings, logits = network.outputs(pixels)
        plain, tta = logits.softmax(1).numpy(), network.probabilities(pixels, TTA(**settings.tta), logits).numpy()
        novelty = network.novelty(pixels) if name != "validation" else None
        predictions[name] = Predictions(ids, targets, plain, tta, novelty)
        if name == "validation":
            write_npz(out / "embeddings.npz", [("ids", ids), ("targets", targets), ("embeddings", embeddings.numpy())])
        if name not in settings.sets:
            wrong, heats = mistake_maps(network, pixels, targets, plain)
            maps += [(f"{name}/ids", ids[wrong]), (f"{name}/maps", heats)]
    write_npz(out / "maps.npz", maps)
    say(f"{out}: macro F1 with TTA", write_run(out, predictions, STUDY, *settings.sets))
