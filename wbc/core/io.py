"""Atomic writing of files whose bytes depend on their content alone."""

import csv
import errno
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import IO, Any

DIGITS = 6  # decimals of a number in a text file; the last bits of a double differ between machines


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` when the block ends without an error.

    The content is synced to the disk before it is renamed and the folder after that, so that a power cut leaves the old
    file or the whole new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file)
        os.replace(temporary, path)
        with suppress(OSError):  # Windows opens no folder, and some network file systems sync none
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:  # it names the temporary file or, when the disk is full, none
        if error.errno and str(error.filename or temporary) == str(temporary):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Make the folder of `path`, and raise the `OSError` that writing the file would raise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fault = errno.EISDIR if path.is_dir() else 0 if os.access(path.parent, os.W_OK) else errno.EACCES
    if fault:
        raise OSError(fault, os.strerror(fault), str(path))


def rounded(value: Any) -> Any:
    """`value` with every float in it, at any depth, rounded to `DIGITS` decimals."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, bool):  # an integer in Python, but not in JSON
        return value
    if isinstance(value, Integral):  # NumPy's integers too
        return int(value)
    return round(float(value), DIGITS) if isinstance(value, Real) else value


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write `values` as JSON with rounded floats; one that is not finite raises a `ValueError`."""
    write_text(path, json.dumps(rounded(values), indent=2, allow_nan=False) + "\n")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write `rows` under the header `columns`, with rounded floats and Unix line ends."""
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}  # file names may not be valid UTF-8
    with atomic(path) as temporary, temporary.open("w", **text) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rounded(list(row)) for row in rows)


def write_npz(path: str | Path, arrays: Iterable[tuple[str, Any]]) -> None:
    """Write named arrays as a compressed `.npz` file, holding one array in memory at a time."""
    import numpy as np  # only here: the stages import this module before they set NumPy's threads

    arrays = ((name, partial(np.save, arr=np.ascontiguousarray(array), allow_pickle=False)) for name, array in arrays)
    write_zip(path, ((f"{name}.npy", write) for name, write in arrays))


def write_zip(path: str | Path, entries: Iterable[tuple[str, Callable[[IO[bytes]], Any]]]) -> None:
    """Write a zip file of entries, each given by its name and a function that writes its content.

    The compression is bzip2, which has one implementation; the bytes of zlib's several implementations differ.
    """
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, write in entries:
            entry = zipfile.ZipInfo(name)  # dated 1980
            entry.compress_type = zipfile.ZIP_BZIP2  # an entry does not take it from the archive
            with archive.open(entry, "w", force_zip64=True) as file:
                write(file)
