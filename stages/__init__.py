"""Entry points of the pipeline: `python -m stages.<name> …` reads configs/, calls wbc and writes declared outputs."""

import gc
import os
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from wbc.compute import pin, used
from wbc.config import read_yaml
from wbc.errors import UserError

BEGUN = time.time()  # of this process, before its imports
COMPUTE = Path("configs/compute.yaml")
if COMPUTE.exists():  # all but the very first `configure`; before NumPy or PyTorch is imported
    compute = read_yaml(COMPUTE)  # not validated: `configure` must start whatever an older version left there
    pin(compute["threads"], compute["isa"])
# Importing PyTorch leaves half a million objects, hardly any of them garbage; Python would look through them a thousand
# times, for 1.4 s of the 7.8 s before a training starts
gc.set_threshold(50_000)


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
