"""Reads lists of images as people keep them: the rows of a CSV file, and the file that an ID means."""

import csv
import io
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath

from wbc.core.errors import UserError
from wbc.dataset.images import SUFFIXES

# What spreadsheets, pandas and Python write where a value is missing, in any case
MISSING = ("", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat")
# Images that are not read: by their suffix, or by the first bytes of a file with any other suffix
UNREAD = (".avif", ".dcm", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pgm", ".ppm", ".svs", ".webp")
BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|BM.{4}\0{4}|RIFF.{4}WEBP|.{4}ftyp(avif|hei[cfx]|mif1)", re.DOTALL
)


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
        One dict per row that is not blank, with every column's value: no blanks around it, and "" where it is missing
        or spelled as one of `MISSING`. An ID stays as it is, since a file may be called so.

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
    named = (zip(known, row, strict=False) for _, row in rows if any(row))
    return [
        blank | {column: "" if column != "ID" and missing(value) else value for column, value in row} for row in named
    ]


def missing(value: str) -> bool:
    return value.lower() in MISSING


class ImageFolder:
    """All files below a folder, and the links to folders, which are not entered.

    Attributes:
        paths: the images that can be read, sorted.
        unread: what looks like images but is not read, sorted; `why_unread` says why.
        others: the kind of each other file: its suffix, a true mask, or hidden as macOS's `__MACOSX` is.

    Raises:
        OSError: a folder cannot be read.
    """

    def __init__(self, root: Path):
        self.root = root
        self.paths, self.unread, self.others = [], [], {}
        for path in sorted(_files(root)):
            suffix = path.suffix.lower()
            if any(map(hidden, path.relative_to(root).parts)):
                self.others[path] = "hidden"
            elif suffix in SUFFIXES and path.parent != root and _holds_masks(path.parent):
                self.others[path] = "mask"
            elif suffix in SUFFIXES:
                self.paths.append(path)
            elif is_image(path) or os.path.isdir(path):
                self.unread.append(path)
            else:
                self.others[path] = suffix if suffix[1:2].isalpha() else "no suffix"  # as of cell.0001, cell.0002
        unread = (path for path in [*self.others, *self.unread] if path.suffix.lower() not in SUFFIXES)
        self._unread = {_composed(path.name): path for path in unread}
        self._by = [defaultdict(list) for _ in range(3)]
        for path in self.paths:
            for meant, key in zip(self._by, (path.relative_to(root).as_posix(), path.name, path.stem), strict=True):
                meant[_composed(key)].append(path)

    def find(self, id: str) -> Path | str:
        """The file that `id` means: its path below the folder, else its name, else its name without suffix.

        Returns:
            The path, also of a file that is `unread`; where there is none or more than one, the reason.
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
        return self._unread.get(_composed(parts.name), "no such file")


def why_unread(path: Path) -> str:
    """Why an entry of a folder is not read as an image, whatever it holds; "" where it is."""
    if path.suffix.lower() in SUFFIXES:
        return ""
    if path.is_dir():
        return "link to a folder: not entered; put the folder itself here, or make data.path a link"
    return f"unknown suffix: {path.suffix!r}; known: {', '.join(SUFFIXES)}"


def _files(root: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise error  # os.walk would skip what it may not read

    for folder, folders, names in os.walk(root, onerror=stop):
        yield from (Path(folder, name) for name in names)
        yield from (path for path in (Path(folder, name) for name in folders) if path.is_symlink())


def _holds_masks(folder: Path) -> bool:
    return folder.name == "masks" and (folder.parent / "images").is_dir()


def is_image(path: Path) -> bool:
    """Whether a file looks like an image: by its suffix, or else by how it begins."""
    if path.suffix.lower() in (*SUFFIXES, *UNREAD):
        return True
    try:
        if not os.path.isfile(path):  # a pipe would be waited on
            return False
        with path.open("rb") as file:
            return bool(BEGINNINGS.match(file.read(16)))
    except OSError:
        return False


def hidden(name: str) -> bool:
    """Whether nobody put it there to be looked at, such as macOS's `._a.jpg` and `__MACOSX`."""
    return name.startswith(".") or name == "__MACOSX"


def _composed(name: str) -> str:
    """One spelling of é: macOS takes names apart that a list has whole."""
    return unicodedata.normalize("NFC", name)
