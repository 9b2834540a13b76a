"""`python -m wbc fetch`: a public set comes whole or not at all. A local server stands for the real ones."""

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
from wbc.cli.fetch import READ, unpack_parquet, unzip
from wbc.core.errors import UserError
from wbc.dataset.public import SETS
from wbc.sources import scan


def zipped(files: dict) -> bytes:
    """A zip file of contents by name or ZipInfo."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CELLS = {"PBC/neutrophil/BNE_1.jpg": b"1", "PBC/neutrophil/SNE_2.jpg": b"22", "PBC/ig/IG_3.jpg": b"333"}
CELLS |= {"__MACOSX/ig/._MY_3.jpg": b"x", "PBC/neutrophil/.DS_5.jpg": b"x"}  # junk
PBC = zipped(CELLS)
UNPACKED = {f"PBC/{name}": content for name, content in CELLS.items()}


class Handler(BaseHTTPRequestHandler):
    """Serves `files`; the next answers have the status codes in `plan`, or are cut off where it says "cut"."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path, b"")
        planned = self.server.plan.pop(0) if self.server.plan else 200 if content else 404
        self.send_response(200 if planned == "cut" else planned)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: 99 if planned == "cut" else None])


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.plan, server.asked = {"/PBC.zip": PBC}, [], []
        server.url = f"http://127.0.0.1:{server.server_port}"
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


def test_a_set_is_downloaded_unpacked_and_counted_once(server, capsys):
    server.plan = ["cut", 503]  # it tries again
    for _ in range(2):
        main(["fetch", "pbc", "raw"])
        assert tree() == UNPACKED
    assert len(server.asked) == 3
    printed = capsys.readouterr().out
    assert "\nlicence: CC BY 4.0; 280 MB, 17,092 images\n" in printed
    assert "\nraw: 2 images: SNE 1, BNE 1\nleft out: ig/IG 1\nother files: hidden 2\n" in printed
    assert ", fewer if negative: neutrophil/SNE -1645, neutrophil/BNE -1632, " in printed
    assert "\nbytes of all images: 6; published: 281,233,720\n" in printed
    assert printed.endswith("\nnext: dvc exp run -S data.source=pbc -S data.path=raw\n")


@pytest.mark.parametrize(
    ("plan", "content", "line"),
    [
        (["cut"] * 9, PBC, "cannot be downloaded: ChunkedEncodingError$"),
        ([404] * 9, PBC, "cannot be downloaded: 404 Client Error: Not Found"),
        ([], b"<html>Log in</html>", "cannot be unpacked: File is not a zip file$"),
        ([], PBC[:-9], "cannot be unpacked: File is not a zip file$"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do_by_hand(server, capsys, plan, content, line):
    server.plan, server.files["/PBC.zip"] = plan, content
    assert_fails(f"^error: PBC.zip: {line}")
    assert tree() == {}
    steps = f"By hand: {SETS['pbc'].steps}\n  page: {SETS['pbc'].page}\n  folder: raw\n"
    assert steps + "  then run: python -m wbc fetch pbc raw\n" in capsys.readouterr().out


@pytest.fixture
def zenodo(server, monkeypatch):
    """A record with the zip files of two classes of MLL23."""
    archives = {f"{label}.zip": zipped({f"{label}/1.tif": label}) for label in ("monocyte", "basophil")}
    files = {name: SETS["mll23"].files[name] for name in archives}
    monkeypatch.setitem(SETS, "mll23", SETS["mll23"]._replace(files=files))
    monkeypatch.setattr(pooch.downloaders, "doi_to_url", lambda *_, **__: "https://zenodo.org/records/14277609")
    monkeypatch.setattr(pooch.downloaders.ZenodoRepository, "base_api_url", server.url)
    server.files = {f"/{name}": content for name, content in archives.items()}
    entries = [
        {"key": name, "checksum": f"md5:{hashlib.md5(content).hexdigest()}", "links": {"self": f"{server.url}/{name}"}}
        for name, content in archives.items()
    ]
    server.files["/14277609"] = json.dumps({"files": entries}).encode()
    return server


def test_zenodos_checksums_are_compared_and_only_what_is_missing_is_downloaded(zenodo):
    right, record = zenodo.files["/basophil.zip"], zenodo.files["/14277609"]
    for wrong in (b"[]", b"[[", b"{}", b'{"files": []}'):
        zenodo.files["/14277609"] = wrong
        assert_fails("^error: monocyte.zip: cannot be downloaded: ", "mll23")
        assert tree() == {}
    zenodo.files |= {"/14277609": record, "/basophil.zip": zenodo.files["/monocyte.zip"]}
    assert_fails(r"^error: basophil.zip: cannot be downloaded: MD5 hash .* does not match", "mll23")
    assert tree() == {"monocyte/monocyte/1.tif": b"monocyte"}
    zenodo.files["/basophil.zip"], zenodo.asked[:] = right, []
    main(["fetch", "mll23", "raw"])
    assert tree() == {"monocyte/monocyte/1.tif": b"monocyte", "basophil/basophil/1.tif": b"basophil"}
    assert "/monocyte.zip" not in zenodo.asked


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["pooch.core.hash_matches", "zipfile.ZipFile.extractall", "pathlib.Path.rename"])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt(), SystemExit("killed")], ids=repr)
def test_after_a_full_disk_an_interruption_or_a_kill_the_same_command_starts_again(server, monkeypatch, place, error):
    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        if isinstance(error, SystemExit):  # nothing is cleaned up
            patch.setattr("tempfile.TemporaryDirectory._rmtree", lambda *_, **__: None)
        assert_fails("No space left on device|interrupted|killed")
    assert all(name.startswith(".") for name in tree())
    assert isinstance(error, SystemExit) or not tree()
    main(["fetch", "pbc", "raw"])
    assert {name: content for name, content in tree().items() if name[0] != "."} == UNPACKED


def test_a_set_without_an_address_says_what_a_licence_forbids_and_what_to_do(capsys):
    assert_fails("^error: raw: empty, and this set has no address to download from$", "wbcbench_hf")
    assert f"\nforbidden: {SETS['wbcbench_hf'].forbids}\nBy hand: log in to Hugging Face" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["PBC.zip", "Download all.ZIP"])
def test_a_downloaded_zip_file_is_unpacked_and_stays(server, name):
    Path("raw").mkdir()
    Path("raw", name).write_bytes(PBC)
    for _ in range(2):
        main(["fetch", "pbc", "raw"])
        assert tree() == {name: PBC} | {f"{name[:-4]}/{cell}": content for cell, content in CELLS.items()}
    assert server.asked == []


def test_nothing_is_downloaded_into_a_folder_with_other_files(server, capsys):
    Path("raw/any/lymphocyte").mkdir(parents=True)
    Path("raw/any/lymphocyte/mine.jpg").write_bytes(b"mine")
    main(["fetch", "pbc", "raw"])
    assert "raw holds any: nothing is downloaded into it\nraw: 1 images: LY 1\n" in capsys.readouterr().out
    assert server.asked == []


LINK = zipfile.ZipInfo("up.png")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize("name", ["../up.png", "LY/../../up.png", "/tmp/up.png", "..\\up.png", "C:\\up.png", LINK])
def test_a_zip_file_writes_nothing_outside_its_folder_and_no_link(tmp_path, name):
    Path("in").mkdir()
    Path("in/a.zip").write_bytes(zipped({name: "/tmp"}))
    unzip(Path("in/a.zip"), Path("in/a"))
    (path,) = (path for path in tmp_path.rglob("*") if path.name != "a.zip" and not path.is_dir())
    assert path.relative_to(tmp_path).parts[:2] == ("in", "a")
    assert not path.is_symlink()
    assert not Path("/tmp/up.png").exists()


ONE = zipped({"LY/a.png": b"a" * 1000})
HEADER = b"\x14\0\0\0\x08\0"  # version, flags and compression, in the local and the central header


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "File is not a zip file"),
        (ONE[:45] + b"\0" + ONE[46:], ""),
        (ONE[:-3] + b"\x7f" + ONE[-2:], ""),
        (ONE.replace(HEADER, b"\x14\0\1\0\x08\0"), "encrypted"),
        (ONE.replace(HEADER, b"\x14\0\0\0\x63\0"), "compression method is not supported"),
        (zipped({"a": b"a", "a/b.png": b"b"}), ""),
        (zipped({"LY/in.zip": ONE[:-5]}), "File is not a zip file"),
    ],
)
def test_a_damaged_zip_file_leaves_nothing(content, line):
    Path("a.zip").write_bytes(content)
    with pytest.raises(UserError, match=f"^a.zip: cannot be unpacked: .*{line}"):
        unzip(Path("a.zip"), Path("a"))
    assert [path.name for path in Path(".").iterdir()] == ["a.zip"]


def test_zip_files_in_a_zip_file_are_unpacked_too():
    Path("a.zip").write_bytes(zipped({"PBC/b.ZIP": zipped({"LY/a.png": b"a"}), "__MACOSX/PBC/._b.zip": b"x"}))
    unzip(Path("a.zip"), Path("a"))
    assert tree("a") == {"PBC/b/LY/a.png": b"a", "__MACOSX/PBC/._b.zip": b"x"}


def stored(id, label, patient="p", original=None, severity=None, content=None, format="JPEG"):
    """A row of a parquet file, with a grey picture unless `content` is given."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), len(id), np.uint8)).save(buffer, format)
    image = {"bytes": buffer.getvalue() if content is None else content, "path": None}
    return dict(zip(READ, (id, label, patient, "phase2_train", severity, original, image), strict=True))


def shard(path, rows, names=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    features = {"label": {"names": names, "_type": "ClassLabel"}} if names else {}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), path)
    return path


def test_parquet_files_are_unpacked_once_and_read_with_their_patients(capsys):
    raw, original = Path("raw"), stored("00.jpg", "SNE", "p0")
    shard(raw / "pristine/a.parquet", [original, stored("01", "LY", "p1"), stored("09", None, "p9", format="PNG")])
    numbered = [stored("11.jpg", 2, "p0", "00.jpg", "mild"), stored("12.JPG", 1, "p7", "77", "severe")]
    numbered += [stored("13", 0, "p1", "13"), stored("14", 1, "p9", "09"), stored("15", -1)]
    shard(raw / "degraded/b.parquet", numbered, names=["LY", "MO", "SNE"])
    for _ in range(2):
        main(["fetch", "wbcbench_hf", "raw"])
    assert sorted((raw / "labels.csv").read_text("utf-8").splitlines()[1:]) == [
        "00,SNE,p0,phase2_train,,",
        "01,LY,p1,phase2_train,,",
        "09,,p9,phase2_train,,",
        "11,SNE,p0,phase2_train,mild,00",
        "12,MO,p7,phase2_train,severe,77",
        "13,LY,p1,phase2_train,,13",
        "14,MO,p9,phase2_train,,09",
        "15,,p,phase2_train,,",
    ]
    assert (raw / "images/00.jpeg").read_bytes() == original["image"]["bytes"]
    assert (raw / "images/09.png").exists()
    used = [(item.id, item.group) for item in scan("wbcbench_hf", raw).items]  # copies only of labelled others are not
    assert sorted(used) == [("00", "p0"), ("01", "p1"), ("12", "p7"), ("13", "p1"), ("14", "p9")]
    assert "\nleft out: degraded copy 1, no label 2\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        *(([stored(id, "LY")], f"image_id {id!r} is not a file name") for id in ("../a", "b/c", "a\\b", "..", "")),
        ([stored("a", "LY"), stored("a.jpg", "LY")], "image_id 'a' occurs twice"),
        *(([stored("a", "LY", content=image)], "the image of 'a' is missing or no JPEG") for image in (b"", b"hello")),
        ([stored("a", 3)], "not a parquet file with image_id, label"),
        ([{"image_id": "a", "label": "LY"}], "not a parquet file with image_id, label, patient_hash"),
        ([], "not a parquet file with image_id, label"),
    ],
)
def test_a_bad_row_or_file_stops_and_leaves_nothing(rows, message):
    Path("out").mkdir()
    bad = shard(Path("bad.parquet"), rows or [stored("a", "LY")])
    if not rows:
        bad.write_bytes(bad.read_bytes()[:-200])
    with pytest.raises(UserError) as error:
        unpack_parquet([shard(Path("good.parquet"), [stored("z", "LY")]), bad], Path("out"))
    assert message in str(error.value)
    assert list(Path("out").iterdir()) == []
