"""Entry points of the pipeline: `python -m stages.<name> …` reads settings/, calls wbc and writes declared outputs."""

import gc
import os
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from wbc.compute import pin, used
from wbc.config.files import LEFT_OUT, read_yaml, settings_path
from wbc.core.errors import UserError
from wbc.core.io import write_text

BEGUN = time.time()  # of this process, before its imports
# Importing PyTorch leaves half a million objects, hardly any of them garbage; Python would look through them a thousand
# times, for 1.4 s of the 7.8 s before a training starts
gc.set_threshold(50_000)


def start() -> None:
    """Read the settings of the stage that this process runs, before NumPy or PyTorch is imported.

    They say how many threads and which instructions the numeric libraries use. Where they say that the study leaves
    this row out, write empty outputs and exit.
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
    if settings == LEFT_OUT and len(arguments) == 2:
        leave_out(stage, *arguments)
        sys.exit()


def leave_out(stage: str, row: str, repeat: str) -> None:
    """Write the outputs of a row that the study leaves out: DVC wants every stage's, and warns of an empty folder."""
    run = Path(f"runs/{row}-{repeat}")
    for folder in (stage, *["live/plots/metrics"] * (stage == "train")):
        write_text(run / folder / "left_out.csv", "step,left_out\n")
    if stage in ("train", "robustness"):
        write_text(run / f"{stage}.json", "{}\n")
    print(f"{row} is not one of this study's rows: nothing to do")


start()


def run(main: Callable[..., None]) -> None:
    """Call `main` with the command line's arguments; what a person can correct ends in one line, not in a traceback."""
    gc.freeze()  # what the imports left is not looked through again, for which the interpreter's end took a second
    sys.stdout.reconfigure(line_buffering=True)  # an epoch's line is worth reading while the next one runs
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started, if it did
    try:
        main(*sys.argv[1:])
        if first:
            print(used())
    except UserError as error:
        sys.exit(f"error: {error}" if first else 1)
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
