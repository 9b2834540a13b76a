"""Run a stage: `python -m stages <name> <argument> …`."""

import gc
import sys
from importlib import import_module
from pathlib import Path

from stages import run
from wbc.config.files import LEFT_OUT, SETTINGS, read_yaml
from wbc.core.compute import pin
from wbc.core.io import write_text

NOTE = "left_out.csv"  # the output of a run that `rows` leaves out
BEFORE = {"predict": "train", "embed": "predict", "robustness": "train"}  # by stage, the output that it reads


def main(stage: str, *arguments: str) -> None:
    paths = SETTINGS / stage / f"{'-'.join(arguments[:1])}.yaml", SETTINGS / f"{stage}.yaml"
    settings = next((read_yaml(path) for path in paths if path.exists()), {})
    folder = Path("runs", "-".join(("best", *arguments) if stage == "blend" else arguments))
    if (settings == LEFT_OUT and stage in ("train", "blend")) or (
        stage in BEFORE and (folder / BEFORE[stage] / NOTE).exists()
    ):
        return leave_out(stage, folder)
    if "compute" in settings:
        pin(**settings["compute"])  # before the stage imports NumPy and PyTorch
    gc.set_threshold(50_000)  # importing PyTorch makes half a million objects, which Python would scan again and again
    module = import_module(f"stages.{stage}")
    gc.freeze()  # without the imported objects, the last garbage collection takes a second less
    run(module.main, *arguments)


def leave_out(stage: str, folder: Path) -> None:
    """Write the outputs of a run that `rows` leaves out. DVC needs every output, and warns of an empty folder."""
    for output in {"train": ("train", "live/plots/metrics"), "blend": ("",)}.get(stage, (stage,)):
        write_text(folder / output / NOTE, "step,left_out\n")
    if stage in ("train", "robustness"):
        write_text(folder / f"{stage}.json", "{}\n")
    print(f"{folder}: left out, since its row is not one of this study's rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
