"""Reads lists of images as people keep them: the rows of a CSV file, and the file that an ID means."""

import csv
import io
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath

from wbc.core.errors import UserError
from wbc.dataset.images import SUFFIXES


class ListError(UserError):
    """A CSV file as a whole cannot be read; the message is one line naming it and what is expected."""


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file, see `parse`.

    Raises:
        ListError: it is missing or unreadable, or `parse` refuses it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}; expected a CSV file with {','.join(columns)}") from None
    return parse(content, str(path), columns)


def parse(content: bytes, name: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file in UTF-8, with or without a byte-order mark and with any line ends.

    The values may stand between commas, semicolons or tabs, whichever the first line has most of.

    Args:
        content: the file's bytes.
        name: what messages call it.
        columns: those it must have; it may have more, in any order.

    Returns:
        One dict per row that is not blank, with every column's value: "" where there is none, no blanks around it.

    Raises:
        ListError: not CSV, not UTF-8, a column missing or repeated, or a row with more values than columns.
    """
    try:
        text = content.decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        # strict: a quote left open would swallow every row after it
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header, *rows = [(reader.line_num, [value.strip() for value in row]) for row in reader] or [(1, [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ListError(f"{name}: not a CSV file in UTF-8: {error}") from None
    known = header[1]
    for column in columns:
        if known.count(column) != 1:
            how = "no column" if column not in known else "more than one column"
            raise ListError(f"{name}: {how} {column!r}; the first line must have {','.join(columns)}, as written here")
    for line, row in rows:
        if any(row[len(known) :]):
            raise ListError(f"{name}: line {line} has {len(row)} values for {len(known)} columns; is a comma unquoted?")
    blank = dict.fromkeys(known, "")
    return [blank | dict(zip(known, row, strict=False)) for _, row in rows if any(row)]


class ImageFolder:
    """The image files below a folder, hidden ones and macOS's `__MACOSX` apart; folders that are links are not entered.

    Args:
        root: the folder.

    Raises:
        OSError: a folder cannot be read.
    """

    def __init__(self, root: Path):
        self.root = root
        files = sorted(_files(root))
        self.paths = [path for path in files if path.suffix.lower() in SUFFIXES]
        self._others = {_composed(path.name) for path in files if path.suffix.lower() not in SUFFIXES}
        self._by = [defaultdict(list) for _ in range(3)]
        for path in self.paths:
            for meant, key in zip(self._by, (path.relative_to(root).as_posix(), path.name, path.stem), strict=True):
                meant[_composed(key)].append(path)

    def find(self, id: str) -> Path | str:
        """The file that `id` means: its path below the folder, else its name, else its name without suffix.

        Returns:
            The path, or where there is none or more than one, the reason.
        """
        parts = PureWindowsPath(id)  # knows both slashes
        if parts.is_absolute() or id.startswith(("/", "\\")):
            return "absolute path"
        if ".." in parts.parts:
            return "path outside the folder"
        for meant in self._by:
            paths = meant.get(_composed(id), [])
            if len(paths) > 1:
                return f"ambiguous: {' or '.join(path.relative_to(self.root).as_posix() for path in paths)}"
            if paths:
                return paths[0]
        if _composed(parts.name) in self._others:
            return f"unknown suffix: {parts.suffix!r}; known: {', '.join(SUFFIXES)}"
        return "no such file"


def _files(root: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise error  # os.walk would skip what it may not read

    for folder, folders, names in os.walk(root, onerror=stop):
        folders[:] = [name for name in folders if not hidden(name)]
        yield from (Path(folder, name) for name in names if not hidden(name))


def hidden(name: str) -> bool:
    """Whether nobody put it there to be looked at, such as macOS's `._a.jpg` and `__MACOSX`."""
    return name.startswith(".") or name == "__MACOSX"


def _composed(name: str) -> str:
    """One spelling of é: macOS takes names apart that a list has whole."""
    return unicodedata.normalize("NFC", name)
