"""Entry points of the pipeline: `python -m stages.<name> …` reads settings/, calls wbc and writes declared outputs."""

import gc
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from wbc.config.files import LEFT_OUT, read_yaml, settings_path
from wbc.core.compute import pin, used
from wbc.core.errors import UserError
from wbc.core.io import write_text

BEGUN = time.time()  # of this process, before its imports
NOTE = "left_out.csv"  # in the outputs of a run that `rows` leaves out
BEFORE = {"predict": "train", "embed": "predict", "robustness": "train"}  # by stage, the output that it reads
# Importing PyTorch leaves half a million objects, hardly any of them garbage; Python would look through them a thousand
# times, for 1.4 s of the 7.8 s before a training starts
gc.set_threshold(50_000)


def start() -> None:
    """Read the settings of the stage that this process runs, before NumPy or PyTorch is imported.

    They say how many threads and which instructions the numeric libraries use. A stage of a run that `rows` leaves out
    writes empty outputs and exits.
    """
    words = sys.orig_argv
    found = [place for place, word in enumerate(words) if word.startswith("stages.")]
    if not found:
        return  # imported, not run
    stage, arguments = words[found[0]].removeprefix("stages."), words[found[0] + 1 :]
    paths = [settings_path(stage, *arguments[:1]), settings_path(stage)]
    settings = next((read_yaml(path) for path in paths if path.exists()), {})
    if "compute" in settings:
        pin(**settings["compute"])
    before = Path("runs", "-".join(arguments), BEFORE.get(stage, ""), NOTE)
    if (settings == LEFT_OUT and stage in ("train", "blend")) or (stage in BEFORE and before.exists()):
        leave_out(stage, *arguments)
        sys.exit()


def leave_out(stage: str, *arguments: str) -> None:
    """Write the outputs of a run that `rows` leaves out: DVC expects every output, and warns of an empty folder."""
    run, row = Path("runs", "-".join(arguments)), arguments[0]
    if stage == "blend":
        run, row = Path(f"runs/best-{row}"), "the blend's row"
    for folder in ("" if stage == "blend" else stage, *["live/plots/metrics"] * (stage == "train")):
        write_text(run / folder / NOTE, "step,left_out\n")
    if stage in ("train", "robustness"):
        write_text(run / f"{stage}.json", "{}\n")
    print(f"{row} is not one of this study's rows: nothing to do")


start()


def run(main: Callable[..., None]) -> None:
    """Call `main` with the command line's arguments; what a person can correct ends in one line, not in a traceback."""
    gc.freeze()  # what the imports left is not looked through again, for which the interpreter's end took a second
    sys.stdout.reconfigure(line_buffering=True)  # an epoch's line is worth reading while the next one runs
    try:
        main(*sys.argv[1:])
        print(used())
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except OSError as error:  # no space, no permission
        sys.exit(f"error: {error.filename or 'writing the output'}: {error.strerror or error}")


def say(text: str, values: Mapping[str, float | str] | None = None) -> None:
    """Print `text`, and values by name to three decimals, in lines of a page's width."""
    if values is not None:
        shown = (
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
        )
        text = f"{text}: {', '.join(shown)}"
    print(textwrap.fill(text, 120, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False))
