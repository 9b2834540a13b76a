"""Public data comes whole or not at all, from a server that does whatever servers do."""

import errno
import hashlib
import io
import json
import re
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests

from study import ROOT
from wbc.__main__ import main
from wbc.cli import fetch, unzip
from wbc.dataset.public import SETS, File, PublicSet
from wbc.sources import Item, Scan, scan

STEPS = "open the page, Download All"
NOISE = np.random.default_rng(0).bytes(700_000)  # longer than a few pieces, and not to be compressed


def zipped(*entries, compress=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of (name or ZipInfo, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


CELLS = zipped(("cells/SNE/a.png", NOISE), ("cells/LY/b.png", b"b"), ("cells/LY/c.png", b"c"))
OTHERS = zipped(("cells/SNE/a.png", NOISE[::-1]), ("cells/LY/b.png", b"B"), ("cells/LY/c.png", b"C"))  # as long
assert len(CELLS) == len(OTHERS)


class Server(ThreadingHTTPServer):
    """Serves `files`, with ranges and ETags; the next requests are answered as those of `plan` say."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.plan, self.asked = {"/cells.zip": CELLS}, [], []
        self.go_on = threading.Event()

    def handle_error(self, *_):
        """A client that hangs up is what is tested."""

    def url(self, path="/cells.zip", host="127.0.0.1"):
        return f"http://{host}:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        how = {"status": None, "cut": None, "claim": 0, "ranges": True, "most": None, "start": None}
        how |= {"tag": True, "wait": False, "headers": {}}
        how |= self.server.plan.pop(0) if self.server.plan else {}
        ranges = self.headers.get("Range")
        self.server.asked.append((self.path, ranges))
        content = self.server.files.get(self.path, b"")
        status = how["status"] or (200 if self.path in self.server.files else 404)
        start = int(re.fullmatch(r"bytes=(\d+)-", ranges)[1]) if ranges and how["ranges"] and status == 200 else None
        headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'} if how["tag"] else {}
        if start is not None:
            start = start if how["start"] is None else how["start"]
            status = 206 if start < len(content) else 416
            headers["Content-Range"] = (
                f"bytes {start}-{len(content) - 1}/{len(content)}" if status == 206 else "bytes */1"
            )
        body = content[start or 0 :][: how["most"]] if status in (200, 206) else b""
        self.send_response(status)
        for key, value in (headers | {"Content-Length": len(body) + how["claim"]} | how["headers"]).items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(body[: how["cut"]])
        if how["wait"]:
            self.wfile.flush()
            self.server.go_on.wait(20)


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setitem(SETS, "cells", public(File("cells.zip", server.url())))
        yield server
        server.go_on.set()
        server.shutdown()


def public(*files) -> PublicSet:
    return PublicSet("Cells", "https://cells.example", "CC BY 4.0", 3, {}, "1 MB", files, steps=STEPS)


@pytest.fixture(autouse=True)
def fast(monkeypatch, tmp_path):
    """No pauses, no waiting for the whole machine's disks, and a source that takes any folder's name for a label."""
    monkeypatch.setattr("os.sync", lambda: None)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(fetch, "scan", scanned)
    monkeypatch.chdir(tmp_path)


def scanned(source: str, root: Path) -> Scan:
    paths = sorted(path for path in root.rglob("*.png") if not re.search(r"/\.", str(path)))
    return Scan(root, [Item(path.name, path, path.parent.name) for path in paths], {}, {}, {})


def tree(folder="raw") -> dict[str, bytes]:
    """Every file below a folder, the lock apart."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".fetch.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def error(match: str) -> None:
    """The command ends with this one line."""
    with pytest.raises(SystemExit) as stop:
        main(["fetch", "cells", "raw"])
    assert "\n" not in stop.value.code
    assert re.search(match, stop.value.code), stop.value.code


def fetched() -> None:
    """It ends with the files of the archive and nothing else."""
    main(["fetch", "cells", "raw"])
    assert tree() == WHOLE


WHOLE = {"cells/cells/SNE/a.png": NOISE, "cells/cells/LY/b.png": b"b", "cells/cells/LY/c.png": b"c"}


# --- the whole way


def test_a_set_comes_and_is_counted_and_does_not_come_again(server, capsys):
    fetched()
    said = capsys.readouterr().out
    assert said.startswith("Cells\nhttps://cells.example\nlicence: CC BY 4.0; 1 MB, 3 images\n")
    assert f"cells.zip: sha256 {hashlib.sha256(CELLS).hexdigest()}, compared with none; to be pinned" in said
    assert said.endswith("raw: 3 images: SNE 1, LY 2\nnext: dvc exp run -S data.source=cells -S data.path=raw\n")
    fetched()
    assert "nothing is missing there, so nothing is downloaded" in capsys.readouterr().out
    assert server.asked == [("/cells.zip", None)]


def test_what_a_licence_forbids_is_said_before_anything_is_asked_for(server, monkeypatch, capsys):
    monkeypatch.setitem(SETS, "cells", SETS["cells"]._replace(forbids="commercial use", files=()))
    error(match="nothing is there yet")
    assert "\nforbidden: commercial use\nBy hand: " in capsys.readouterr().out


def test_the_source_itself_reads_what_came(server, monkeypatch, capsys):
    monkeypatch.setattr(fetch, "scan", scan)
    monkeypatch.setitem(SETS, "pbc", SETS["pbc"]._replace(files=(File("PBC.zip", server.url("/PBC.zip")),)))
    names = ("neutrophil/BNE_1.jpg", "neutrophil/SNE_2.jpg", "ig/IG_3.jpg", "basophil/.DS_5.jpg")
    server.files["/PBC.zip"] = zipped(*((f"PBC/{name}", name.encode()) for name in names))
    main(["fetch", "pbc", "raw"])
    said = capsys.readouterr().out
    assert "\nraw: 2 images: SNE 1, BNE 1\nleft out: ig/IG 1\n" in said
    assert "\nmore than published, fewer if negative: neutrophil/SNE -1645, neutrophil/BNE -1632, " in said


def test_each_file_of_a_set_comes_and_only_what_is_missing_comes_again(server, monkeypatch):
    files = [File(f"{label}.zip", server.url(f"/{label}.zip")) for label in ("SNE", "LY")]
    monkeypatch.setitem(SETS, "cells", public(*files))
    server.files |= {"/SNE.zip": zipped(("SNE/a.png", b"a")), "/LY.zip": zipped(("b.png", b"b"), ("c.png", b"c"))}
    server.plan = [{}, {"status": 404}]
    error(match="LY.zip: 127.0.0.1 answers 404")
    assert tree() == {"SNE/SNE/a.png": b"a"}
    main(["fetch", "cells", "raw"])
    assert tree() == {"SNE/SNE/a.png": b"a", "LY/b.png": b"b", "LY/c.png": b"c"}
    assert [path for path, _ in server.asked] == ["/SNE.zip", "/LY.zip", "/LY.zip"]


# --- servers and lines


def test_a_download_that_breaks_off_goes_on_where_it_was(server):
    server.plan = [{"cut": 200_000}, {"cut": 300_000}]
    fetched()
    starts = [int(ranges[6:-1]) for _, ranges in server.asked[1:]]
    assert 100_000 < starts[0] < 200_000
    assert 300_000 < starts[1] < 500_000  # each try adds to the one before


def test_tries_come_to_an_end_and_the_next_call_goes_on(server):
    server.plan = [{"cut": 200_000}, *[{"cut": 0}] * len(fetch.PAUSES)]
    error(match="^error: cells.zip: 127.0.0.1 broke off; run the same command again later, it goes on from there$")
    assert server.plan == []
    assert [size for size in map(len, tree().values()) if 100_000 < size < 200_000]
    fetched()
    assert server.asked[-1][1] not in (None, "bytes=0-")


@pytest.mark.parametrize(
    ("plan", "requests"),
    [
        ([{"cut": 100_000}] * 6, 7),  # more than PAUSES: each brings something
        ([{"cut": 300_000}, {"ranges": False}], 2),
        ([{"cut": 400_000}, {"start": 0}], 3),  # another range than asked for is not taken
        ([{"cut": 400_000}, {"most": 100_000}], 3),  # a shorter one is gone on from
    ],
    ids=["often", "no ranges", "another range", "a shorter range"],
)
def test_as_long_as_more_arrives_a_download_comes_to_its_end(server, plan, requests):
    server.plan = plan
    fetched()
    assert len(server.asked) == requests


@pytest.mark.parametrize("answer", [{"cut": 200_000, "ranges": False}, {"claim": 100, "ranges": False}])
def test_a_server_that_breaks_off_at_the_same_place_is_given_up(server, answer):
    server.plan = [answer] * 50
    error(match="broke off")
    assert len(server.asked) == 1 + len(fetch.PAUSES)


@pytest.mark.parametrize("other", [OTHERS, OTHERS + bytes(9), CELLS[:250_000]], ids=["as long", "longer", "shorter"])
def test_a_file_that_changed_is_not_glued_to_the_half_of_the_old_one(server, other):
    server.plan = [{"cut": 400_000}, *[{"cut": 0}] * len(fetch.PAUSES)]
    error(match="broke off")
    server.files["/cells.zip"] = other
    if len(other) < len(CELLS):
        error(match="no zip file")
        assert tree() == {}
    else:
        main(["fetch", "cells", "raw"])
        assert tree()["cells/cells/SNE/a.png"] == NOISE[::-1]


@pytest.mark.parametrize(("dates", "other"), [(["Mon", "Tue"], OTHERS), ([None, None], OTHERS + bytes(9))])
def test_without_an_etag_the_date_or_the_length_tells_a_change(server, dates, other):
    old, new = ({"tag": False, "headers": {"Last-Modified": date} if date else {}} for date in dates)
    server.plan = [old | {"cut": 400_000}, *[old | {"cut": 0}] * len(fetch.PAUSES)]
    error(match="broke off")
    server.files["/cells.zip"] = other
    server.plan = [new] * 2
    main(["fetch", "cells", "raw"])
    assert tree()["cells/cells/SNE/a.png"] == NOISE[::-1]
    assert server.plan == []


def test_a_length_that_is_too_short_ends_as_a_damaged_file_and_leaves_none(server):
    server.plan = [{"claim": -100}]
    error(match="^error: cells.zip: no zip file that can be unpacked: File is not a zip file$")
    assert tree() == {}


def test_no_length_is_no_hindrance(server, monkeypatch):
    send = BaseHTTPRequestHandler.send_header
    monkeypatch.setattr(Handler, "send_header", lambda self, key, value: key[8:] == "Length" or send(self, key, value))
    fetched()


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({"status": 404}, "cells.zip: 127.0.0.1 answers 404 Not Found"),
        ({"status": 403}, "cells.zip: 127.0.0.1 answers 403 Forbidden"),
        ({"headers": {"Content-Type": "text/html; charset=utf-8"}}, "cells.zip: 127.0.0.1 answers with a web page"),
    ],
    ids=["404", "403", "login"],
)
def test_where_a_server_wants_a_person_it_is_said_what_to_do(server, capsys, answer, line):
    server.plan = [answer]
    error(match=f"^error: {line}")
    steps = f"By hand: {STEPS}\n  page: https://cells.example\n  there: raw\n  then: python -m wbc fetch cells raw\n"
    assert capsys.readouterr().out.endswith(steps)
    assert len(server.asked) == 1
    assert tree() == {}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_wants(server, monkeypatch, status):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    server.plan = [{"status": status, "headers": {"Retry-After": 7}}, {"status": status}]
    fetched()
    assert slept == [7, fetch.PAUSES[1]]


def test_a_server_that_is_busy_for_long_is_not_waited_for(server):
    server.plan = [{"status": 503, "headers": {"Retry-After": 3600}}]
    error(match=r"127.0.0.1 is busy \(503\); run the same command again in 3600 s$")
    assert len(server.asked) == 1


def test_a_server_may_send_on_to_another_and_the_half_is_kept(server, capsys):
    there = {"status": 302, "headers": {"Location": server.url(host="localhost")}}
    server.plan = [there, {"cut": 200_000}, there]
    fetched()
    assert "127.0.0.1 sends on to localhost" in capsys.readouterr().out
    assert server.asked[-1][1] is not None


def test_no_server_sends_on_to_an_address_without_encryption(server, monkeypatch):
    answer = requests.get(server.url(), stream=True)
    monkeypatch.setattr("requests.get", lambda *_, **__: answer)
    monkeypatch.setitem(SETS, "cells", public(File("cells.zip", "https://cells.example/cells.zip")))
    error(match="cells.example sends on to 127.0.0.1 without encryption")
    assert tree() == {}


def test_a_server_that_sends_on_for_ever(server):
    server.plan = [{"status": 302, "headers": {"Location": server.url()}}] * 99
    error(match="cells.zip: Exceeded 30 redirects")


# --- what was published


def test_a_file_with_another_hash_than_published_goes(server, monkeypatch):
    monkeypatch.setitem(SETS, "cells", public(File("cells.zip", server.url(), hashlib.sha256(CELLS).hexdigest())))
    server.files["/cells.zip"] = OTHERS
    error(match="^error: cells.zip: its sha256 is [0-9a-f]{64}, but [0-9a-f]{64} was published$")
    assert tree() == {}
    server.files["/cells.zip"] = CELLS
    fetched()


def record(server, monkeypatch, content=CELLS, **change):
    """A Zenodo record of the file."""
    entry = {"key": "cells.zip", "size": len(content), "checksum": f"md5:{hashlib.md5(content).hexdigest()}"} | change
    server.files["/record"] = json.dumps({"files": [entry]}).encode()
    monkeypatch.setitem(SETS, "cells", SETS["cells"]._replace(checksums=server.url("/record")))


def test_zenodos_size_and_md5_are_checked(server, monkeypatch, capsys):
    record(server, monkeypatch)
    server.plan = [{"status": 503}, {"cut": 99}]  # of the record
    fetched()
    assert "to be pinned" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"checksum": "md5:0"}, "cells.zip: its md5 is [0-9a-f]{32}, but 0 was published"),
        ({"size": 7}, f"cells.zip: {len(CELLS)} bytes long, but 7 were published"),
        ({"key": "other.zip"}, "/record: does not list cells.zip"),
        ({"checksum": "crc:0"}, "/record: not a Zenodo record as expected"),
        ({"size": 10**15}, "raw: 1000000.0 GB are needed and .* GB are free"),
    ],
)
def test_what_zenodo_says_otherwise_stops(server, monkeypatch, change, line):
    record(server, monkeypatch, **change)
    error(match=line)
    assert tree() == {}


@pytest.mark.parametrize("content", [b"[]", b"[[", b'{"files": [1]}'])
def test_what_is_no_record_stops(server, monkeypatch, content):
    record(server, monkeypatch)
    server.files["/record"] = content
    error(match="/record: not a Zenodo record as expected")


# --- disks, and people


def test_space_is_looked_for_before_a_download_and_before_it_is_unpacked(server, monkeypatch):
    free = [len(CELLS) - 1]
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, free.pop(0) if free[1:] else free[0])
    )
    error(match="^error: raw: 0.0 GB are needed and 0.0 GB are free$")
    assert tree() == {}
    free[:] = [len(CELLS), len(CELLS), len(NOISE) + 1]
    error(match="0.0 GB are needed")
    assert [*map(len, tree().values())] == [len(CELLS)]  # which the next call can use


@pytest.mark.parametrize("when", ["download", "unpack"])
def test_a_full_disk_is_one_line_and_nothing_half_unpacked(server, monkeypatch, when):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            *((fetch.requests.Response, "iter_content") if when == "download" else (shutil, "copyfileobj")), full
        )
        error(match="^error: raw: No space left on device$")
    assert not [name for name in tree() if not name.endswith(".part")]
    fetched()


def test_an_interruption_keeps_what_came(server, monkeypatch):
    pieces = iter([None, None, None, KeyboardInterrupt])

    def update(*_):
        if stop := next(pieces):
            raise stop

    with monkeypatch.context() as patch:
        patch.setattr(fetch.tqdm, "update", update)
        error(match="^error: interrupted; what was downloaded stays, and the same command goes on from there$")
    fetched()
    assert server.asked[-1][1] is not None


def test_two_calls_do_not_write_one_file(server):
    Path("raw").mkdir()
    with fetch.FileLock("raw/.fetch.lock"):
        error(match="^error: raw: another fetch is at work there$")
    fetched()


def test_what_else_is_in_the_folder_stays_as_it_is(server, capsys):
    Path("raw/LY").mkdir(parents=True)
    Path("raw/LY/mine.png").write_bytes(b"mine")
    main(["fetch", "cells", "raw"])
    assert "raw holds LY, so nothing is downloaded into it" in capsys.readouterr().out
    assert (tree(), server.asked) == ({"LY/mine.png": b"mine"}, [])


@pytest.mark.parametrize("name", ["cells.zip", "Download all.ZIP"])
@pytest.mark.parametrize("files", [True, False])
def test_what_a_person_downloaded_is_found_and_stays(server, monkeypatch, files, name):
    if not files:
        monkeypatch.setitem(SETS, "cells", public())
        error(match="^error: raw: nothing is there yet, and only a person can download it$")
    Path("raw").mkdir(exist_ok=True)
    Path("raw", name).write_bytes(CELLS)
    for _ in range(2):
        main(["fetch", "cells", "raw"])
        unpacked = {path.replace("cells", Path(name).stem, 1): content for path, content in WHOLE.items()}
        assert tree() == {name: CELLS} | unpacked
    assert server.asked == []


def test_what_a_person_unpacked_is_counted(server, monkeypatch, capsys):
    monkeypatch.setitem(SETS, "cells", public())
    Path("raw/any/LY").mkdir(parents=True)
    Path("raw/any/LY/a.png").write_bytes(b"a")
    main(["fetch", "cells", "raw"])
    assert "raw: 1 images: LY 1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"<html>", "cells.zip: a web page, not a zip file"),
        (CELLS[:-9], "cells.zip: no zip file that can be unpacked"),
        (OTHERS, "cells.zip: its sha256 is"),
    ],
    ids=["page", "cut", "hash"],
)
def test_what_a_person_downloaded_is_checked_and_not_deleted(server, monkeypatch, content, line):
    published = hashlib.sha256(CELLS).hexdigest() if content == OTHERS else ""
    monkeypatch.setitem(SETS, "cells", public(File("cells.zip", server.url(), published)))
    Path("raw").mkdir()
    Path("raw/cells.zip").write_bytes(content)
    error(match=line)
    assert tree() == {"cells.zip": content}


def test_parquet_files_are_unpacked_once(server, monkeypatch):
    def unpack(files, folder):
        assert list(map(str, files)) == ["raw/data/1.parquet"]
        (folder / "images").mkdir()  # fails if it is called again
        (folder / "labels.csv").touch()

    monkeypatch.setitem(sys.modules, "wbc.cli.parquet", SimpleNamespace(unpack=unpack))
    monkeypatch.setitem(SETS, "cells", public())
    Path("raw/data").mkdir(parents=True)
    Path("raw/data/1.parquet").touch()
    for _ in range(2):
        main(["fetch", "cells", "raw"])
    assert sorted(tree()) == ["data/1.parquet", "labels.csv"]


# --- killed


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from wbc.cli import fetch
from wbc.dataset import public
from wbc.cli import unzip

os.sync = lambda: None
public.SETS["cells"] = public.PublicSet("x", "x", "x", 3, {{}}, files=(public.File("cells.zip", {url!r}),))

def kill(owner, name, calls, after):
    real = getattr(owner, name)
    def killed(*arguments, **keywords):
        nonlocal calls
        calls -= 1
        result = real(*arguments, **keywords) if calls or after else None
        if not calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, killed)

kill({place})
fetch.fetch("cells", Path("raw"))
"""


@pytest.mark.parametrize(
    "place",
    [
        "fetch.hashlib, 'sha256', 1, True",  # before the first byte
        "fetch.tqdm, 'update', 4, True",  # in the middle of the download
        "fetch, '_unpack', 1, False",  # downloaded and not unpacked
        "shutil, 'copyfileobj', 2, True",  # in the middle of it
        "Path, 'rename', 1, False",  # unpacked, without its name
        "Path, 'rename', 1, True",  # with it, and the download still there
        "Path, 'unlink', 1, True",  # all done, and not yet said so
    ],
)
def test_a_killed_call_is_gone_on_with(server, tmp_path, place):
    server.plan = [{"cut": 400_000, "wait": True}] * ("update" in place)
    code = KILLED.format(url=server.url(), place=place)
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert process.returncode == -9
    fetched()
    assert len(server.asked) <= 2
    if "update" in place:
        assert server.asked[-1][1] not in (None, "bytes=0-")


# --- zip files


def entry(name, kind):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def patched(content: bytes, **fields) -> bytes:
    """A zip file whose headers claim something else: `flags` of all entries, or the `size` of the first."""
    content = bytearray(content)
    for signature, flags, size in ((b"PK\3\4", 6, 22), (b"PK\1\2", 8, 24)):
        at = content.index(signature)
        if "flags" in fields:
            content[at + flags] |= fields["flags"]
        if "size" in fields:
            content[at + size : at + size + 4] = fields["size"].to_bytes(4, "little")
        if "method" in fields:
            content[at + flags + 2] = fields["method"]
    return bytes(content)


ONE = zipped(("LY/a.png", b"a" * 1000))
REFUSED = {
    "up": (zipped(("LY/a.png", b"a"), ("../up.png", b"a")), r"'../up.png' leads out of the folder"),
    "up, hidden in the middle": (zipped(("LY/../../up.png", b"a")), "leads out of the folder"),
    "up, as Windows writes it": (zipped(("..\\up.png", b"a")), "leads out of the folder"),
    "up, in a folder that is left out": (zipped(("__MACOSX/../../up.png", b"a")), "leads out of the folder"),
    "absolute": (zipped(("/tmp/up.png", b"a")), "leads out of the folder"),
    "absolute, as Windows writes it": (zipped(("C:\\up.png", b"a")), "leads out of the folder"),
    "a link": (zipped((entry("LY", stat.S_IFLNK), b"/tmp"), ("LY/a.png", b"a")), "'LY' is a link or a device"),
    "a pipe": (zipped((entry("pipe", stat.S_IFIFO), b"")), "'pipe' is a link or a device"),
    "a bomb": (zipped(("a.png", bytes(2_000_000))), "claims to hold 1 files of 2000000 bytes, far too much for it"),
    "a bomb in a zip file": (zipped(("in.zip", zipped(("a.png", bytes(3_000_000))))), "claims to hold 2 files"),
    "a bomb that says it is none": (patched(zipped(("a.png", bytes(2_000_000))), size=10), "Bad CRC-32"),
    "encrypted": (patched(ONE, flags=1), "'LY/a.png' is encrypted"),
    "an unknown compression": (patched(ONE, method=99), "is neither stored nor deflated"),
    "a byte changed": (ONE[:45] + b"\0" + ONE[46:], "no zip file that can be unpacked"),
    "a name twice": (
        zipped(("a.png", b"a"), ("b.png", b"b")).replace(b"b.png", b"a.png"),
        "has two entries of one name",
    ),
    "a file and a folder of one name": (zipped(("a", b"a"), ("a/b.png", b"b")), "has two entries of one name"),
    "a damaged one in it": (zipped(("LY/in.zip", ONE[:-5])), "no zip file that can be unpacked"),
    "an entry that begins before the file": (ONE[:-3] + b"\x7f" + ONE[-2:], "no zip file that can be unpacked"),
    "nothing": (b"", "no zip file that can be unpacked"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_dangerous_or_damaged_zip_file_leaves_nothing(server, case, tmp_path):
    content, line = REFUSED[case]
    server.files["/cells.zip"] = content
    error(match=f"^error: cells.zip: .*{line}")
    assert tree(tmp_path) == {}
    assert [path.name for path in Path("raw").iterdir()] == [".fetch.lock"]


def test_the_number_of_files_is_bounded(server, monkeypatch):
    monkeypatch.setattr(unzip, "ENTRIES", 2)
    error(match="claims to hold 3 files")
    monkeypatch.setattr(unzip, "ENTRIES", 3)
    fetched()


def test_a_zip_file_that_holds_itself_comes_to_an_end(server, monkeypatch):
    """Or nearly: each file holds another of its own size."""
    content = ONE
    for _ in range(150):
        content = zipped(("r.zip", content), compress=zipfile.ZIP_STORED)
    server.files["/cells.zip"] = content
    monkeypatch.setattr(unzip, "RATIO", 10)
    error(match="far too much for it")


def test_zip_files_in_zip_files_are_unpacked_and_macos_and_hidden_files_left_out(server):
    inner = zipped(("PBC/LY/a.png", b"a"), ("PBC/LY/.DS_169665.jpg", b"x"), ("__MACOSX/LY/a.png", b"x"))
    server.files["/cells.zip"] = zipped(
        ("PBC/PBC.zip", zipped(("again/PBC.ZIP", inner))),
        (".hidden/b.png", b"x"),
        ("PBC/empty/", b""),
        ("é\\SNE\\c.png", b"c"),
    )
    main(["fetch", "cells", "raw"])
    assert tree() == {"cells/PBC/PBC/again/PBC/PBC/LY/a.png": b"a", "cells/é/SNE/c.png": b"c"}
