"""Stages of the pipeline. Each module has a `main` that reads settings, calls wbc and writes the declared outputs."""

import sys
import time
from collections.abc import Callable, Mapping

from wbc.core.compute import used
from wbc.core.errors import UserError

STARTED = time.time()  # of this process, before its imports


def run(main: Callable[..., None], *arguments: str) -> None:
    """Call `main`; an error that a user can correct exits with one line instead of a traceback."""
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


def say(text: str, values: Mapping[str, float | int]) -> None:
    """Print values by name, fractions with three decimals."""
    print(f"{text}:", ", ".join(f"{key} {round(value, 3)}" for key, value in values.items()))
