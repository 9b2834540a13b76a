"""Macro F1 by number of training cells: handcrafted features on several masks, and a network.

    python -m benchmarks.learning_curve .scratch/studies/pbc --json curve.json

In the folder of a finished study (`make study`). Every model learns from the first n images of a shuffle of the
training part, the same for all, and is scored on the whole test part. Of each feature set the table has the classifier
with the highest 5-fold cross-validated macro F1 on those n images; the JSON file has all. The network is the row
`tuned`; 15% of its n images choose the epoch.
"""

import argparse
import json
import os
from pathlib import Path

from wbc.core.compute import pin

FEATURES = (("v1", "hsv"), ("v1", "polar"), ("v2", "lab"), ("v2", "polar"), ("v3", "polar"))
SIZES = (300, 600, 1200, 2500, 5000)
FOLDS = 5
ROW = "tuned"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a study")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    target = options.json and options.json.absolute()
    os.chdir(options.folder)
    pin(len(os.sched_getaffinity(0)), "native")  # before NumPy and PyTorch are imported
    found = {f"{features} on {masks}": classical(features, masks) for features, masks in FEATURES}
    found[ROW] = network()
    print(f"\n| | {' | '.join(map(str, SIZES))} |\n| --- |{' ---: |' * len(SIZES)}")
    for name, by_size in found.items():
        cells = [f"{it['f1']:.3f}" + (f" {it['best']}" if "best" in it else "") for it in by_size.values()]
        print(f"| {name} | {' | '.join(cells)} |")
    if target:
        target.write_text(json.dumps(found, indent=2) + "\n")


def order():
    """Indices of the training images in a random order, and of the test images."""
    import numpy as np

    from wbc.core.tables import read_split

    fold = read_split("folds", 0)
    return np.random.default_rng(0).permutation(np.flatnonzero(fold >= 0)), np.flatnonzero(fold < 0)


def classical(features: str, masks: str) -> dict[int, dict]:
    import numpy as np

    from stages.features import measure
    from wbc.classical.models import classifiers, cross_validate, probabilities
    from wbc.core.parallel import parallel_map
    from wbc.core.tables import read_manifest, read_masks, targets
    from wbc.scoring.scores import macro_f1

    manifest, found = read_manifest(), {}
    with read_masks("study", masks) as stored:
        tasks = ((row.path, row.sha256, stored[row.id], features) for row in manifest.itertuples())
        values = np.stack(list(parallel_map(measure, tasks, len(manifest), features)))
    (train, test), target = order(), targets(manifest)
    for size in SIZES:
        chosen = train[:size]
        fold = np.arange(len(chosen)) % FOLDS
        scores = {}
        for name, result in cross_validate(classifiers("hist", True, 0), values[chosen], target[chosen], fold).items():
            tested = probabilities(result.model, values[test]).argmax(1)
            scores[name] = (
                macro_f1(target[chosen], result.out_of_fold.argmax(1)),
                macro_f1(target[test], tested),
            )
        best = max(scores, key=lambda name: scores[name][0])
        found[size] = {"best": best, "f1": scores[best][1], "all": scores}
        print(f"{features} on {masks}, {len(chosen)} cells: {best} {scores[best][1]:.3f}", flush=True)
    return found


def network() -> dict[int, dict]:
    import numpy as np
    import torch

    from wbc.config.files import load
    from wbc.config.schema import Training
    from wbc.core.tables import read_manifest, read_pixels, targets
    from wbc.network.inference import choose_device, infer
    from wbc.network.pixels import Part, Pixels
    from wbc.network.prepare import Prepare
    from wbc.scoring.scores import macro_f1
    from wbc.train.engine import fit

    settings, manifest, device = Training(**vars(load(f"train/{ROW}"))), read_manifest(), choose_device()
    (train, test), target, packed, found = order(), targets(manifest), read_pixels("study"), {}

    def part(index: np.ndarray) -> Part:
        pixels = Pixels(packed, index, device, size=settings.model.size or 0)
        return Part(manifest["id"].to_numpy()[index], pixels, torch.from_numpy(target[index]))

    for size in SIZES:
        chosen = train[:size]
        held = round(len(chosen) * settings.train.validation)
        checkpoint = Path(".scratch/learning_curve.pt").absolute()
        checkpoint.parent.mkdir(exist_ok=True)
        for file in checkpoint.parent.glob(f"*{checkpoint.name}"):
            file.unlink()
        fitted = fit(settings, part(chosen[held:]), part(chosen[:held]), checkpoint)
        tested = infer(fitted.model, Prepare(fitted.normalisation), part(test).pixels).argmax(1).numpy()
        found[size] = {"f1": macro_f1(target[test], tested)}
        print(f"{ROW}, {len(chosen)} cells: {found[size]['f1']:.3f}", flush=True)
    return found


if __name__ == "__main__":
    main()
