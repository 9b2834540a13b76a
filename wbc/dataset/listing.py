"""Read lists of images as people keep them, and find the images of a folder."""

import csv
import io
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path, PureWindowsPath

from wbc.core.errors import UserError
from wbc.dataset.images import SUFFIXES

# Lower-case spellings of a missing value in spreadsheets, pandas and Python
MISSING = ("", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat")
# Images that are not read: recognised by the suffix or, with any other suffix, by the first bytes
UNREAD = (".avif", ".dcm", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pgm", ".ppm", ".svs", ".webp")
BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|BM.{4}\0{4}|RIFF.{4}WEBP|.{4}ftyp(avif|hei[cfx]|mif1)", re.DOTALL
)


class ListError(UserError):
    """A CSV file as a whole cannot be read; the message is one line naming it and what is expected."""


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file in UTF-8, with or without a byte-order mark, with any line ends and any order of columns.

    The delimiter is a comma, semicolon or tab, whichever the first line has most of.

    Returns:
        The rows that are not blank, by column. A value that is one of `MISSING` becomes "", but in the column ID, since
        a file may have such a name.

    Raises:
        ListError: not a readable CSV file, a column missing or repeated, or a row with more values than columns.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        # strict: an open quotation mark would swallow all rows after it
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        (_, known), *rows = [(reader.line_num, [value.strip() for value in row]) for row in reader] or [(1, [])]
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}; expected a CSV file with {','.join(columns)}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ListError(f"{path}: not a CSV file in UTF-8: {error}") from None
    for column in columns:
        if known.count(column) != 1:
            how = "no column" if column not in known else "more than one column"
            raise ListError(f"{path}: {how} {column!r}; the first line must have {','.join(columns)}, as written here")
    for line, row in rows:
        if any(row[len(known) :]):
            raise ListError(f"{path}: line {line} has {len(row)} values for {len(known)} columns; is a comma unquoted?")
    named = (zip_longest(known, row[: len(known)], fillvalue="") for _, row in rows if any(row))
    return [{key: "" if key != "ID" and missing(value) else value for key, value in row} for row in named]


def missing(value: str) -> bool:
    return value.lower() in MISSING


class ImageFolder:
    """All files below a folder, and the links to folders, which are not entered.

    Attributes:
        root: the folder.
        paths: the images that can be read, sorted.
        unread: what looks like an image but is not read (`why_unread`), sorted.
        others: the kind of each other file: its suffix, "mask" beside images, or "hidden".

    Raises:
        OSError: a folder cannot be read.
    """

    def __init__(self, root: Path):
        self.root = root
        self.paths, self.unread, self.others = [], [], {}
        for path in sorted(_walk(root)):
            suffix, folders = path.suffix.lower(), path.relative_to(root).parts[:-1]
            if any(name.startswith(".") or name == "__MACOSX" for name in (*folders, path.name)):
                self.others[path] = "hidden"
            elif suffix in SUFFIXES and folders[-1:] == ("masks",) and path.parent.with_name("images").is_dir():
                self.others[path] = "mask"
            elif suffix in SUFFIXES:
                self.paths.append(path)
            elif is_image(path) or os.path.isdir(path):
                self.unread.append(path)
            else:
                self.others[path] = suffix if suffix[1:2].isalpha() else "no suffix"  # cell.0001 has none
        self._by = [defaultdict(list) for _ in range(3)]
        for path in self.paths:
            for meant, key in zip(self._by, (path.relative_to(root).as_posix(), path.name, path.stem), strict=True):
                meant[_composed(key)].append(path)
        rest = (path for path in [*self.others, *self.unread] if path.suffix.lower() not in SUFFIXES)
        self._rest = {_composed(path.name): path for path in rest}

    def find(self, id: str) -> Path | str:
        """The file that an ID means: its path below the folder, else its name, else its name without suffix.

        Returns:
            The path, also of a file that is not read; where there is none or more than one, the reason.
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
        return self._rest.get(_composed(parts.name), "no such file")


def why_unread(path: Path) -> str:
    """Why an entry of a folder is not read as an image, whatever it holds; "" where it is."""
    if path.suffix.lower() in SUFFIXES:
        return ""
    if path.is_dir():
        return "link to a folder: not entered; put the folder itself here, or make data.path a link"
    return f"unknown suffix: {path.suffix!r}; known: {', '.join(SUFFIXES)}"


def is_image(path: Path) -> bool:
    """Whether a file looks like an image, by its suffix or its first bytes."""
    if path.suffix.lower() in (*SUFFIXES, *UNREAD):
        return True
    try:
        if not os.path.isfile(path):  # reading a pipe would wait for ever
            return False
        with path.open("rb") as file:
            return bool(BEGINNINGS.match(file.read(16)))
    except OSError:
        return False


def _walk(root: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise error  # os.walk would skip a folder that it may not read

    for folder, folders, names in os.walk(root, onerror=stop):
        yield from (Path(folder, name) for name in names)
        yield from (path for path in (Path(folder, name) for name in folders) if path.is_symlink())


def _composed(name: str) -> str:
    """One spelling of é: macOS decomposes names that a list has composed."""
    return unicodedata.normalize("NFC", name)
