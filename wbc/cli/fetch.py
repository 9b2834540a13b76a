"""`python -m wbc fetch SET FOLDER`: a public set, downloaded, checked and unpacked; what is there is left as it is.

A download is a hidden `.part` file until it is unpacked, and what is unpacked a hidden folder until it is whole, so a
call that was killed goes on or starts again. What a person put into the folder is checked and unpacked likewise.
"""

import hashlib
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from wbc.cli.unzip import Damaged, room, unzip
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.dataset.public import SETS, File, PublicSet
from wbc.sources import format_counts, scan

PAUSES = (1, 5, 20)  # seconds before each further try; they start again where something new arrived
LONGEST = 300  # seconds that a busy server may ask for
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
PIECE = 1 << 16  # bytes: what a break loses at most


class ByHand(UserError):
    """The set does not come by itself: a person has to do what its `steps` say."""


class Broken(Exception):
    """The connection broke or the server is busy; another try, after so many seconds, may succeed."""

    def __init__(self, message: str, pause: int = 0):
        super().__init__(message)
        self.pause = pause


class Published(NamedTuple):
    """What its publisher says of a file."""

    algorithm: str
    digest: str
    size: int | None = None  # bytes


def fetch(name: str, folder: Path) -> None:
    """Bring a set of `wbc.dataset.public.SETS` into `folder`, and print what is there and what to run next.

    Raises:
        UserError: it cannot be had, is damaged, or its source refuses it. What was downloaded stays if it is of use.
        OSError: a full disk, no permission.
    """
    chosen = SETS[name]
    print(f"{chosen.title}\n{chosen.page}\nlicence: {chosen.licence}; {chosen.size}, {chosen.images} images")
    if chosen.forbids:
        print(f"forbidden: {chosen.forbids}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".fetch.lock", timeout=0):
            _bring(chosen, folder)
    except ByHand:
        print(f"By hand: {chosen.steps or 'open the page and download the files'}")
        print(f"  page: {chosen.page}\n  there: {folder}")
        print(f"  then: python -m wbc fetch {name} {shlex.quote(str(folder))}")
        raise
    except Timeout:
        raise UserError(f"{folder}: another fetch is at work there") from None
    except KeyboardInterrupt:
        raise UserError("interrupted; what was downloaded stays, and the same command goes on from there") from None
    except OSError as error:  # of a full disk it does not say which file
        error.filename = error.filename or str(folder)
        raise
    scanned = scan(name, folder)
    counts = Counter(item.label for item in scanned.items if not item.fault)
    classes = {label: counts[label] for label in CLASSES if counts[label]}
    print(f"{folder}: {counts.total()} images: {format_counts(classes)}")
    if scanned.left_out:
        print(f"left out: {format_counts(scanned.left_out)}")
    if scanned.difference:
        print(f"more than published, fewer if negative: {format_counts(scanned.difference)}")
    print(f"next: dvc exp run -S data.source={name} -S data.path={shlex.quote(str(folder))}")


def _bring(chosen: PublicSet, folder: Path) -> None:
    """Download what has an address and is missing, unless something else is there, and unpack whatever is packed."""
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    missing = [file for file in chosen.files if not {file.name, Path(file.name).stem}.intersection(there)]
    others = set(there) - {name for file in chosen.files for name in (file.name, Path(file.name).stem)}
    published = {file.name: Published("sha256", file.sha256) for file in chosen.files if file.sha256}
    for file in set(chosen.files).difference(missing):  # a call may have been killed before it did this
        for part in folder.glob(f".{file.name}.*.part"):
            part.unlink()
    if chosen.files and not missing:
        print(f"{folder}: nothing is missing there, so nothing is downloaded")
    elif missing and others:
        print(f"{folder} holds {min(others)}, so nothing is downloaded into it")
    elif missing:
        if chosen.checksums:
            published |= _patiently(lambda: _record(chosen), folder)
        sizes = [published[file.name].size or 0 for file in missing if file.name in published]
        room(folder, sum(sizes) - _arrived(folder))
        for file in missing:
            part = _patiently(lambda file=file: _download(file, folder, published.get(file.name)), folder)
            try:
                _unpack(part, folder / Path(file.name).stem, file.name, published.get(file.name))
            except (Damaged, ByHand):
                part.unlink()
                raise
            part.unlink()
    for name in there:  # what a person put there stays packed as well
        if name.lower().endswith(".zip") and not (target := folder / Path(name).stem).exists():
            _unpack(folder / name, target, name, published.get(name))
    _unpack_parquet(folder)
    if not there and not chosen.files:
        raise ByHand(f"{folder}: nothing is there yet, and only a person can download it")


def _unpack(archive: Path, target: Path, name: str, published: Published | None) -> None:
    """Check a file and make a folder of it."""
    with archive.open("rb") as file:
        if file.read(512).lstrip().startswith(b"<"):
            raise ByHand(f"{name}: a web page, not a zip file")
        file.seek(0)
        algorithm = published.algorithm if published else "sha256"
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    if published and digest != published.digest:
        raise Damaged(f"{name}: its {algorithm} is {digest}, but {published.digest} was published")
    unzip(archive, target, name)
    if not published:
        print(f"{name}: sha256 {digest}, compared with none; to be pinned in wbc/dataset/public.py")


def _unpack_parquet(folder: Path) -> None:
    """Make `images` and `labels.csv` of parquet files, where there are any."""
    files = sorted(folder.rglob("[!.]*.parquet"))
    if files and not (folder / "images").exists():
        from wbc.cli.parquet import unpack

        unpack(files, folder)


def _arrived(folder: Path) -> int:
    """Bytes of downloads that are not unpacked yet."""
    return sum(path.stat().st_size for path in folder.glob(".*.part"))


def _patiently(attempt: Callable[[], Any], folder: Path) -> Any:
    """What `attempt` returns, called again where it is `Broken`: a few times, or as long as more arrives."""
    tries, most = 0, _arrived(folder)
    while True:
        try:
            return attempt()
        except Broken as error:
            if _arrived(folder) > most:
                tries, most = 0, _arrived(folder)
            if tries == len(PAUSES):
                raise UserError(f"{error}; run the same command again later, it goes on from there") from None
            pause = error.pause or PAUSES[tries]
            print(f"{error}; again in {pause} s")
            time.sleep(pause)
            tries += 1


@contextmanager
def _get(url: str, name: str, **headers: str) -> Iterator[requests.Response]:
    """A server's answer that has the file `name`; any other, and a break while it is read, is an error."""
    host, answered = urlsplit(url).hostname, False
    headers["Accept-Encoding"] = "identity"  # lengths and ranges are then the file's
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            answered, code = True, answer.status_code
            if (other := urlsplit(answer.url).hostname) != host:
                print(f"{host} sends on to {other}")
            if url.startswith("https:") and not all(x.url.startswith("https:") for x in (*answer.history, answer)):
                raise UserError(f"{name}: {host} sends on to {other} without encryption")
            if code == 429 or code >= 500:
                asked = answer.headers.get("Retry-After", "")
                pause = int(asked) if asked.isdecimal() else 0  # else a date, which is rare
                if pause > LONGEST:
                    raise UserError(f"{name}: {other} is busy ({code}); run the same command again in {asked} s")
                raise Broken(f"{name}: {other} is busy ({code})", pause)
            if code not in (200, 206, 416):
                raise ByHand(f"{name}: {other} answers {code} {answer.reason}")
            if "html" in answer.headers.get("Content-Type", "") and code != 416:
                raise ByHand(f"{name}: {other} answers with a web page, perhaps a login")
            yield answer
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
        raise Broken(f"{name}: {host} " + ("broke off" if answered else "cannot be reached")) from None
    except requests.RequestException as error:
        raise UserError(f"{name}: {error}") from None


def _download(file: File, folder: Path, published: Published | None) -> Path:
    """One try to bring a file; it goes on from the half that an earlier one left, if that is of the same version.

    The version, a hash of the server's ETag (else its date) and the length, stands in the half's name. The half's last
    byte is asked for again, since of a whole file no server has a range to give behind it.
    """
    half = next(folder.glob(f".{file.name}.*.part"), None)
    start = max(half.stat().st_size - 1, 0) if half else 0
    with _get(file.url, file.name, **({"Range": f"bytes={start}-"} if half else {})) as answer:
        span, _, total = answer.headers.get("Content-Range", "").partition("/")
        total = total if answer.status_code != 200 else answer.headers.get("Content-Length", "")
        total = int(total) if total.isdecimal() else None
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified", "")
        part = folder / f".{file.name}.{hashlib.sha256(f'{tag} {total}'.encode()).hexdigest()[:12]}.part"
        goes_on = half == part and span.startswith(f"bytes {start}-")
        if half and not goes_on:  # the file changed, or the server knows no ranges
            half.unlink()
        if not goes_on and answer.status_code != 200:
            raise Broken(f"{file.name}: another version than the one begun")
        if published and None not in (total, published.size) and total != published.size:
            raise Damaged(f"{file.name}: {total} bytes long, but {published.size} were published")
        start = start if goes_on else 0
        room(folder, (total or 0) - start)
        with (
            part.open("r+b" if goes_on else "wb") as out,
            tqdm(None, file.name, total, initial=start, unit="B", unit_scale=True, disable=None) as bar,
        ):
            out.seek(start)
            for piece in answer.iter_content(PIECE):
                bar.update(out.write(piece))
    if total is not None and (size := part.stat().st_size) != total:
        raise Broken(f"{file.name}: broke off at {size} of {total} bytes")
    return part


def _record(chosen: PublicSet) -> dict[str, Published]:
    """Size and MD5 of every file, from its Zenodo record."""
    with _get(chosen.checksums, chosen.checksums) as answer:
        try:
            found = {}
            for entry in answer.json()["files"]:
                algorithm, _, digest = entry["checksum"].partition(":")
                hashlib.new(algorithm)
                found[entry["key"]] = Published(algorithm, digest, int(entry["size"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise UserError(f"{chosen.checksums}: not a Zenodo record as expected") from None
    if absent := [file.name for file in chosen.files if file.name not in found]:
        raise UserError(f"{chosen.checksums}: does not list {absent[0]}")
    return found
