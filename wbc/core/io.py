"""Files that are either whole or absent, and the same bytes for the same content."""

import csv
import errno
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from pathlib import Path
from typing import IO, Any

DIGITS = 6  # decimals of every number in a tracked text file: the last bits of a double are noise between machines


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place only when the block ends without an error.

    It is on the disk before it takes the name, and the name before this returns, so that a power cut leaves the old
    file or the new one, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file)
        os.replace(temporary, path)
        with suppress(OSError):  # some network file systems sync no folder, and Windows opens none
            _sync_folder(path.parent)
    except OSError as error:  # of a full disk it does not say which file; else it names the temporary one
        if error.errno and str(error.filename or temporary) == str(temporary):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


class _Nothing(Exception):
    """Leaves `atomic` without a file."""


def check_writable(path: str | Path) -> None:
    """Raise now, before the work, what writing a file there would raise after it.

    Raises:
        OSError: it is a folder, or its folder cannot be made or written to.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with suppress(_Nothing), atomic(path) as temporary:
        temporary.touch()
        raise _Nothing


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rounded(value: Any) -> Any:
    """`value` with every float in it, at any depth, rounded to `DIGITS` decimals."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, bool):  # Python's is an integer, JSON's is not
        return value
    if isinstance(value, Integral):  # NumPy's too
        return int(value)
    return round(float(value), DIGITS) if isinstance(value, Real) else value


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write `values` as JSON, floats rounded; a float that is not finite is an error."""
    write_text(path, json.dumps(rounded(values), indent=2, allow_nan=False) + "\n")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write `rows` under the header `columns`, floats rounded, lines ending in a single newline."""
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}  # a file's name may be no UTF-8
    with atomic(path) as temporary, temporary.open("w", **text) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rounded(list(row)) for row in rows)


def write_npz(path: str | Path, arrays: Iterable[tuple[str, Any]]) -> None:
    """Write named arrays as a compressed `.npz`, one at a time, so that memory holds a single one."""
    import numpy as np

    def entry(array: Any) -> Callable[[IO[bytes]], None]:
        return lambda file: np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)

    write_zip(path, ((f"{name}.npy", entry(array)) for name, array in arrays))


def write_zip(path: str | Path, entries: Iterable[tuple[str, Callable[[IO[bytes]], Any]]]) -> None:
    """Write a zip file whose bytes depend on its entries alone: their names, and functions that write the content.

    Compressed by bzip2, which has a single implementation: the bytes that zlib's several ones write differ.
    """
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, write in entries:
            entry = zipfile.ZipInfo(name)  # its own date is fixed at 1980
            entry.compress_type = zipfile.ZIP_BZIP2  # ZipFile's own setting does not reach an entry given like this
            with archive.open(entry, "w", force_zip64=True) as file:
                write(file)
