"""Unpacks zip files that strangers made: nothing outside the folder, no more than the disk holds, all or nothing."""

import errno
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from tqdm import tqdm

from wbc.core.errors import UserError

ENTRIES = 500_000  # of a zip file and those in it
RATIO = 100  # what they may unpack to, in sizes of the file: images give 1 to 3, a bomb 1000


class Damaged(UserError):
    """A file is not what it should be: it is of no use."""


def room(folder: Path, needed: int) -> None:
    """Stop where the disk of `folder` has not as many bytes."""
    if needed > (free := shutil.disk_usage(folder).free):
        raise UserError(f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name only when the block ends without an error."""
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # a killed call's
    try:
        temporary.mkdir()
        yield temporary
        os.sync()  # so that a power cut leaves no empty images behind; file by file it would take minutes
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unzip(archive: Path, target: Path, name: str) -> None:
    """Make the folder `target` of a zip file and of those in it; hidden files and macOS's are left out.

    Args:
        archive: the file.
        target: must not exist.
        name: what messages call the file.

    Raises:
        Damaged: it cannot be read, or would leave the folder, link, or fill the disk; then nothing is written.
        UserError: there is not enough space.
    """
    entries, size = 0, 0
    with whole(target) as temporary:
        waiting = [(archive, temporary)]
        while waiting:
            path, folder = waiting.pop()
            try:
                with zipfile.ZipFile(path) as opened:
                    files = [(_place(entry), entry) for entry in opened.infolist() if not entry.is_dir()]
                    declared = sum(entry.file_size for _, entry in files)
                    entries, size = entries + len(files), size + declared
                    if entries > ENTRIES or size > RATIO * archive.stat().st_size:
                        raise Damaged(f"{name}: claims to hold {entries} files of {size} bytes, far too much for it")
                    room(temporary, declared)
                    for place, entry in tqdm(files, name, disable=None):
                        if any(part.startswith(".") or part == "__MACOSX" for part in place.parts):
                            continue
                        out = folder.joinpath(*place.parts)
                        out.parent.mkdir(parents=True, exist_ok=True)
                        with opened.open(entry) as source, out.open("xb") as copy:  # gives no more than was declared
                            shutil.copyfileobj(source, copy)
                        if out.suffix.lower() == ".zip":
                            waiting.append((out, out.with_suffix("")))
            except (FileExistsError, NotADirectoryError):
                raise Damaged(f"{name}: has two entries of one name") from None
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is of an impossible offset
                    raise
                raise Damaged(f"{name}: no zip file that can be unpacked: {error or 'cut off'}") from None
            if path != archive:
                path.unlink()


def _place(entry: zipfile.ZipInfo) -> PureWindowsPath:
    """Where an entry belongs below the folder."""
    place = PureWindowsPath(entry.filename)  # knows both slashes
    if place.anchor or ".." in place.parts:
        raise ValueError(f"{entry.filename!r} leads out of the folder")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ValueError(f"{entry.filename!r} is a link or a device")
    if entry.flag_bits & 1:
        raise ValueError(f"{entry.filename!r} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others have no bound in memory
        raise ValueError(f"{entry.filename!r} is neither stored nor deflated")
    return place
