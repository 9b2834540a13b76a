"""`python -m wbc fetch`: a public set comes whole or not at all, from a local server instead of the real ones."""

import csv
import errno
import hashlib
import io
import json
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from wbc.__main__ import main
from wbc.cli import fetch
from wbc.cli.fetch import READ, unpack_parquet
from wbc.core.errors import UserError
from wbc.dataset.public import SETS
from wbc.sources import scan

JUNK = [("__MACOSX/ig/._MY_3.jpg", b"x"), ("PBC/neutrophil/.DS_5.jpg", b"x")]
CELLS = {"PBC/neutrophil/BNE_1.jpg": b"1", "PBC/neutrophil/SNE_2.jpg": b"22", "PBC/ig/IG_3.jpg": b"333"}


def zipped(*entries) -> bytes:
    """A zip file of (name or ZipInfo, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


PBC = zipped(*CELLS.items(), *JUNK)


class Server(ThreadingHTTPServer):
    """Serves `files`; the next answers have the status codes in `plan`, or are cut off where it says "cut"."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.plan, self.asked = {"/PBC.zip": PBC}, [], []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        planned = self.server.plan.pop(0) if self.server.plan else 200 if content else 404
        self.send_response(200 if planned == "cut" else planned)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write((content or b"")[: 99 if planned == "cut" else None])


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setitem(SETS, "pbc", SETS["pbc"]._replace(files={"PBC.zip": f"{server.url}/PBC.zip"}))
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr("os.sync", lambda: None)  # waits for all disks
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.chdir(tmp_path)


def tree(folder="raw") -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def assert_fails(match: str, name="pbc") -> None:
    """The command ends with one line."""
    with pytest.raises(SystemExit, match=match) as stop:
        main(["fetch", name, "raw"])
    assert "\n" not in stop.value.code


UNPACKED = {f"PBC/{name}": content for name, content in [*CELLS.items(), *JUNK]}


def test_a_set_is_downloaded_unpacked_and_counted_once(server, capsys):
    for _ in range(2):
        main(["fetch", "pbc", "raw"])
        assert tree() == UNPACKED
    assert server.asked == ["/PBC.zip"]
    printed = capsys.readouterr().out
    assert "\nlicence: CC BY 4.0; 280 MB, 17,092 images\n" in printed
    assert "\nraw: 2 images: SNE 1, BNE 1\nleft out: ig/IG 1\nother files: hidden 2\n" in printed
    assert ", fewer if negative: neutrophil/SNE -1645, neutrophil/BNE -1632, " in printed
    assert "\nbytes of all images: 6; published: 281,233,720\n" in printed
    assert printed.endswith("\nnext: dvc exp run -S data.source=pbc -S data.path=raw\n")


def test_a_download_that_breaks_off_is_tried_again(server):
    server.plan = ["cut", 503]
    main(["fetch", "pbc", "raw"])
    assert tree() == UNPACKED


@pytest.mark.parametrize(
    ("plan", "content", "line"),
    [
        (["cut"] * 9, PBC, "^error: PBC.zip: cannot be downloaded: ChunkedEncodingError$"),
        ([404] * 9, PBC, "^error: PBC.zip: cannot be downloaded: 404 Client Error: Not Found"),
        ([], b"<html>Log in</html>", "^error: PBC.zip: cannot be unpacked: File is not a zip file$"),
        ([], PBC[:-9], "^error: PBC.zip: cannot be unpacked: File is not a zip file$"),
    ],
    ids=["cut", "404", "login", "damaged"],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do_by_hand(server, capsys, plan, content, line):
    server.plan, server.files["/PBC.zip"] = plan, content
    assert_fails(line)
    assert tree() == {}
    steps = f"By hand: {SETS['pbc'].steps}\n  page: {SETS['pbc'].page}\n  folder: raw\n"
    assert steps + "  then run: python -m wbc fetch pbc raw\n" in capsys.readouterr().out


@pytest.fixture
def zenodo(server, monkeypatch):
    """A record with a zip file for each of two classes of MLL23, one of which has a wrong MD5 while `wrong` is set."""
    archives = {f"{label}.zip": zipped((f"{label}/1.tif", label.encode())) for label in ("monocyte", "basophil")}
    monkeypatch.setitem(
        SETS, "mll23", SETS["mll23"]._replace(files={name: SETS["mll23"].files[name] for name in archives})
    )
    monkeypatch.setattr(pooch.downloaders, "doi_to_url", lambda *_, **__: "https://zenodo.org/records/14277609")
    monkeypatch.setattr(pooch.downloaders.ZenodoRepository, "base_api_url", server.url)
    files = []
    for name, content in archives.items():
        server.files[f"/{name}"] = content
        checksum, address = f"md5:{hashlib.md5(content).hexdigest()}", {"self": f"{server.url}/{name}"}
        files.append({"key": name, "checksum": checksum, "links": address})
    server.files["/14277609"] = json.dumps({"files": files}).encode()
    return server


def test_zenodos_checksums_are_compared_and_only_what_is_missing_is_downloaded(zenodo):
    right = zenodo.files["/basophil.zip"]
    zenodo.files["/basophil.zip"] = zenodo.files["/monocyte.zip"]
    assert_fails(r"^error: basophil.zip: cannot be downloaded: MD5 hash .* does not match", "mll23")
    assert tree() == {"monocyte/monocyte/1.tif": b"monocyte"}
    zenodo.files["/basophil.zip"], zenodo.asked[:] = right, []
    main(["fetch", "mll23", "raw"])
    assert tree() == {"monocyte/monocyte/1.tif": b"monocyte", "basophil/basophil/1.tif": b"basophil"}
    assert "/monocyte.zip" not in zenodo.asked


@pytest.mark.parametrize("record", [b"[]", b"[[", b"{}", b'{"files": []}'])
def test_what_is_no_record_ends_in_one_line(zenodo, record):
    zenodo.files["/14277609"] = record
    assert_fails("^error: monocyte.zip: cannot be downloaded: ", "mll23")
    assert tree() == {}


def test_a_full_disk_ends_in_one_line_and_leaves_nothing(server, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "_extract_member", full)
    assert_fails("No space left on device")
    assert tree() == {}


def test_an_interrupted_call_leaves_no_folder(server, monkeypatch):
    real = zipfile.ZipFile._extract_member

    def interrupted(self, member, *arguments):
        if "IG" in member:
            raise KeyboardInterrupt
        return real(self, member, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "_extract_member", interrupted)
        assert_fails("^interrupted$")
    assert tree() == {}
    main(["fetch", "pbc", "raw"])
    assert tree() == UNPACKED


# --- what a person put there


def test_a_set_without_an_address_says_what_a_licence_forbids_and_what_to_do(capsys):
    assert_fails("^error: raw: empty, and this set has no address to download from$", "wbcbench_hf")
    printed = capsys.readouterr().out
    assert f"\nforbidden: {SETS['wbcbench_hf'].forbids}\nBy hand: log in to Hugging Face" in printed


@pytest.mark.parametrize("name", ["PBC.zip", "Download all.ZIP"])
def test_a_downloaded_zip_file_is_unpacked_and_stays(server, name):
    Path("raw").mkdir()
    Path("raw", name).write_bytes(PBC)
    for _ in range(2):
        main(["fetch", "pbc", "raw"])
        assert tree() == {name: PBC} | {
            path.replace("PBC", name[:-4], 1): content for path, content in UNPACKED.items()
        }
    assert server.asked == []


def test_nothing_is_downloaded_into_a_folder_with_other_files(server, capsys):
    Path("raw/any/lymphocyte").mkdir(parents=True)
    Path("raw/any/lymphocyte/mine.jpg").write_bytes(b"mine")
    main(["fetch", "pbc", "raw"])
    assert "raw holds any: nothing is downloaded into it\nraw: 1 images: LY 1\n" in capsys.readouterr().out
    assert server.asked == []


# --- zip files


def entry(name, kind):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name", ["../up.png", "LY/../../up.png", "/tmp/up.png", "..\\up.png", "C:\\up.png", entry("up.png", stat.S_IFLNK)]
)
def test_a_zip_file_writes_nothing_outside_its_folder_and_no_link(tmp_path, name):
    Path("in").mkdir()
    Path("in/a.zip").write_bytes(zipped((name, b"/tmp")))
    fetch.unzip(Path("in/a.zip"), Path("in/a"))
    (path,) = (path for path in tmp_path.rglob("*") if path.name != "a.zip" and not path.is_dir())
    assert path.relative_to(tmp_path).parts[:2] == ("in", "a")
    assert not path.is_symlink()
    assert not Path("/tmp/up.png").exists()


def patched(content: bytes, offsets: dict[bytes, int], value: int) -> bytes:
    """A zip file with other bits in the headers of its first entry."""
    content = bytearray(content)
    for signature, offset in offsets.items():
        content[content.index(signature) + offset] |= value
    return bytes(content)


ONE = zipped(("LY/a.png", b"a" * 1000))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "File is not a zip file"),
        (ONE[:45] + b"\0" + ONE[46:], ""),
        (ONE[:-3] + b"\x7f" + ONE[-2:], ""),
        (patched(ONE, {b"PK\3\4": 6, b"PK\1\2": 8}, 1), "encrypted"),
        (patched(ONE, {b"PK\3\4": 8, b"PK\1\2": 10}, 99), "compression method is not supported"),
        (zipped(("a", b"a"), ("a/b.png", b"b")), ""),
        (zipped(("LY/in.zip", ONE[:-5])), "File is not a zip file"),
    ],
    ids=["empty", "changed", "offset", "encrypted", "compression", "file and folder", "damaged inside"],
)
def test_a_damaged_zip_file_leaves_nothing(content, line):
    Path("a.zip").write_bytes(content)
    with pytest.raises(UserError, match=f"^a.zip: cannot be unpacked: .*{line}"):
        fetch.unzip(Path("a.zip"), Path("a"))
    assert tree(".") == {"a.zip": content}
    assert len(list(Path(".").iterdir())) == 1


def test_zip_files_in_a_zip_file_are_unpacked_too():
    Path("a.zip").write_bytes(zipped(("PBC/b.ZIP", zipped(("LY/a.png", b"a"))), ("__MACOSX/PBC/._b.zip", b"x")))
    fetch.unzip(Path("a.zip"), Path("a"))
    assert tree("a") == {"PBC/b/LY/a.png": b"a", "__MACOSX/PBC/._b.zip": b"x"}


# --- parquet files


def stored(id, label, patient="p", original=None, severity=None, content=None, format="JPEG"):
    """A row of a parquet file."""
    if content is None:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(list(id.encode())).integers(0, 255, (8, 8, 3), np.uint8)).save(
            buffer, format
        )
        content = buffer.getvalue()
    values = (id, label, patient, "phase2_train", severity, original, {"bytes": content, "path": None})
    return dict(zip(READ, values, strict=True))


def shard(path, rows, names=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path)
    return path


def labels_of(folder):
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def test_parquet_files_are_unpacked_once_and_read_with_their_patients(capsys):
    raw = Path("raw")
    first = [stored("00.jpg", "SNE", "p0"), stored("01.jpg", "LY", "p1"), stored("09", None, "p9", format="PNG")]
    second = [stored("11.jpg", "SNE", "p0", "00.jpg", "mild"), stored("12.JPG", "MO", "p7", "77", "severe")]
    shard(raw / "pristine/a.parquet", first)
    shard(raw / "degraded/b.parquet", second)
    for _ in range(2):
        main(["fetch", "wbcbench_hf", "raw"])
    assert sorted(labels_of(raw)) == [
        ("00", "SNE", "p0", "phase2_train", "", ""),
        ("01", "LY", "p1", "phase2_train", "", ""),
        ("09", "", "p9", "phase2_train", "", ""),
        ("11", "SNE", "p0", "phase2_train", "mild", "00"),
        ("12", "MO", "p7", "phase2_train", "severe", "77"),
    ]
    assert (raw / "images/01.jpeg").read_bytes() == first[1]["image"]["bytes"]
    assert (raw / "images/09.png").exists()
    scanned = scan("wbcbench_hf", raw)
    assert sorted((item.id, item.label, item.group) for item in scanned.items) == [
        ("00", "SNE", "p0"),
        ("01", "LY", "p1"),
        ("12", "MO", "p7"),  # its original is not there
    ]
    assert "\nleft out: degraded copy 1, no label 1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "used"),
    [([("1.jpg", "LY", "1.jpg")], "1"), ([("1", None, ""), ("2", "LY", "1")], "2")],
    ids=["its own original", "of an unlabelled original"],
)
def test_an_image_is_a_degraded_copy_only_of_a_labelled_other(tmp_path, rows, used):
    rows = [stored(id, label, original=original) for id, label, original in rows]
    unpack_parquet([shard(tmp_path / "a.parquet", rows)], tmp_path)
    assert [item.id for item in scan("wbcbench_hf", tmp_path).items] == [used]


def test_numbers_of_labels_have_their_names_in_the_schema(tmp_path):
    rows = [stored("a", 1), stored("b", 0), stored("c", -1)]
    unpack_parquet([shard(tmp_path / "a.parquet", rows, ["BL", "PC"])], tmp_path)
    assert [row[1] for row in labels_of(tmp_path)] == ["PC", "BL", ""]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        *(
            ([stored(name, "LY")], f"image_id {name!r} is not a file name")
            for name in ("../a", "b/c", "a\\b", "..", "")
        ),
        ([stored("a", "LY"), stored("a.jpg", "LY")], "image_id 'a' occurs twice"),
        ([stored("a", "LY", content=b"")], "the image of 'a' is missing or no JPEG, PNG, BMP, TIFF"),
        ([stored("a", "LY", content=b"hello")], "the image of 'a' is missing or no JPEG, PNG, BMP, TIFF"),
        ([stored("a", 3)], "not a parquet file with image_id, label"),
        ([{"image_id": "a", "label": "LY"}], "not a parquet file with image_id, label, patient_hash"),
    ],
)
def test_a_bad_row_or_file_stops_and_leaves_nothing(tmp_path, rows, message):
    (tmp_path / "out").mkdir()
    good, bad = shard(tmp_path / "good.parquet", [stored("z", "LY")]), shard(tmp_path / "bad.parquet", rows)
    with pytest.raises(UserError) as error:
        unpack_parquet([good, bad], tmp_path / "out")
    assert message in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []
    bad.write_bytes(good.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"bad\.parquet: not a parquet file"):
        unpack_parquet([good, bad], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
