"""Stages of the pipeline. Each module has a `main` that reads settings, calls wbc and writes the declared outputs."""

import gc
import sys
import textwrap
import time
from collections.abc import Callable, Mapping

from wbc.core.compute import used
from wbc.core.errors import UserError

STARTED = time.time()  # of this process, before its imports


def run(main: Callable[..., None], *arguments: str) -> None:
    """Call `main`; an error that a user can correct exits with one line instead of a traceback."""
    gc.freeze()  # without the imported objects, the last garbage collection takes a second less
    sys.stdout.reconfigure(line_buffering=True)  # each epoch's line appears at once
    try:
        main(*arguments)
        print(used())
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except OSError as error:  # no space, no permission
        sys.exit(f"error: {error.filename or 'writing the output'}: {error.strerror or error}")


def say(text: str, values: Mapping[str, float | str] | None = None) -> None:
    """Print `text` and named values, numbers with three decimals, in lines of at most 120 characters."""
    if values is not None:
        shown = (
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
        )
        text = f"{text}: {', '.join(shown)}"
    print(textwrap.fill(text, 120, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False))
