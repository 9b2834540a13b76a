"""Score every row on a set of another laboratory's images, of the classes that both have, beside its own test part."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages import run
from wbc.config import load
from wbc.data.pack import resize
from wbc.data.tables import check, fingerprint, read_features, read_manifest, read_npy, targets
from wbc.evaluate.external import scored, told_apart
from wbc.evaluate.intervals import patients
from wbc.evaluate.mistakes import SIZE, hardest
from wbc.io import write_json, write_npz
from wbc.network.inference import choose_device
from wbc.network.pixels import Pixels, load_part
from wbc.use import model as models


class Place(NamedTuple):
    """One laboratory's N images."""

    target: np.ndarray  # (N,)
    pixels: Pixels
    features: dict[str, np.ndarray]  # by feature set, (N, D)

    def as_taken(self, model: models.Trained | models.Linear) -> tuple[Pixels, np.ndarray | None]:
        _, linear = models.parts(model)
        return self.pixels, self.features[linear.features] if linear else None


def main(name: str, repeat: str) -> None:
    settings, folder = load("configs/external.yaml"), Path(f"data/external/{name}")
    files = {row: Path(f"models/{row}-{repeat}.safetensors") for row in settings.rows}
    for each in settings.masks:
        files |= {f"{each}-{file.stem}": file for file in sorted(Path(f"models/classical/{each}-{repeat}").glob("*"))}
    trained = {row: file for row, file in files.items() if file.exists()}  # not all, if this stage ran alone
    metrics, arrays, known = {}, [], read_manifest()
    if settings.sets[name].used:
        listed, collect, device = folder / "manifest.csv", f"collect@{name}", choose_device()
        manifest = read_manifest(listed)
        check(listed, manifest.get("home", [None])[0], known, collect)
        ids, pixels = manifest["id"].to_numpy(str), read_npy(folder / "images.npy", manifest, collect)
        tested, at_home, there = load_part("test", int(repeat), 0.0, device), {}, {}
        for each in settings.masks:
            if any(row.startswith(f"{each}-") for row in trained):
                table = read_features(f"data/features/{each}.parquet", known, f"features@{each}")
                at_home[each] = table.loc[tested.ids].to_numpy()
                there[each] = read_features(folder / f"{each}.parquet", manifest, collect).to_numpy()
        home = Place(tested.targets.numpy(), tested.pixels, at_home)
        away = Place(targets(manifest), Pixels(pixels, np.arange(len(ids)), device), there)
        common = np.intersect1d(away.target, targets(known[known["part"] == "train"]))
        arrays += [("ids", ids), ("targets", away.target), ("common", common)]
        if (groups := patients(manifest, ids)) is not None:
            arrays.append(("groups", groups))
        for row, file in trained.items():
            model = models.load(file)
            own, other = home.as_taken(model), away.as_taken(model)
            found = {f"home_{key}": v for key, v in scored(home.target, models.chances(model, *own), common).items()}
            for way, tta in {
                "": models.PLAIN,
                **({"_tta": settings.rows[row]} if row in settings.rows else {}),
            }.items():
                chances = models.chances(model, *other, tta)
                arrays.append((f"{row}{way}", chances))
                found |= {f"{key}{way}": value for key, value in scored(away.target, chances, common).items()}
            if (distances := models.far(model, *own)) is not None:
                found |= told_apart(distances, models.far(model, *other))
            print(f"{row}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()))
            metrics[row] = found
        shown = hardest(away.target, [chances.argmax(1) for row, chances in arrays if row in metrics])
        shown = shown[np.isin(away.target[shown], common)]
        arrays.append(("shown_ids", ids[shown]))
        small = [resize(pixels[i], SIZE) if len(pixels[i]) > SIZE else pixels[i] for i in shown]
        arrays.append(("shown", np.array(small)))
    write_npz(f"data/predictions/external/{name}-{repeat}.npz", arrays, fingerprint(known))
    write_json(f"metrics/external/{name}-{repeat}.json", metrics)


if __name__ == "__main__":
    run(main)
