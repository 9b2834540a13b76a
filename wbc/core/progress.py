"""Progress bars."""

import io
import sys
import threading
from typing import Any

from tqdm import tqdm

EVERY = 30  # seconds between two lines


class Bar(tqdm):
    """tqdm's bar on a terminal; elsewhere a line every `EVERY` seconds, however long one step takes."""

    def __init__(self, title: str, total: float | None = None, **options: Any):
        self.lines = not sys.stderr.isatty()
        if self.lines:
            step = "{n_fmt} of {total_fmt}, {remaining} left, " if total else ""
            options |= {"bar_format": f"{{desc}}: {step}{{elapsed}} so far", "file": io.StringIO()}
        super().__init__(None, title, total, **options)
        self.ended = threading.Event()

    def __enter__(self) -> "Bar":
        if self.lines and not self.disable:
            threading.Thread(target=self._print_lines, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.close()

    def display(self, *args: Any, **options: Any) -> bool:
        return self.lines or super().display(*args, **options)

    def _print_lines(self) -> None:
        while not self.ended.wait(EVERY):
            tqdm.write(str(self))
