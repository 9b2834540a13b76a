"""Outputs are whole or absent, and the same bytes for the same content."""

import os
import time

import numpy as np
import pytest

from stages import run
from wbc.core.io import atomic, write_csv, write_json, write_npz


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_are_rounded_and_nan_is_refused(tmp_path):
    write_json(tmp_path / "a.json", {"f1": np.float32(0.1), "n": np.int64(3), "same": True, "x": [1 / 3]})
    lines = ["{", '  "f1": 0.1,', '  "n": 3,', '  "same": true,', '  "x": [', "    0.333333", "  ]", "}", ""]
    assert (tmp_path / "a.json").read_text() == "\n".join(lines)
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "b.json", {"f1": float("nan")})
    assert not (tmp_path / "b.json").exists()
    write_csv(tmp_path / "a.csv", ["name", "x"], [("a,b", 2 / 3)])
    assert (tmp_path / "a.csv").read_bytes() == b'name,x\n"a,b",0.666667\n'


def test_npz_is_compressed_and_its_bytes_do_not_depend_on_the_time(tmp_path):
    mask = np.zeros((368, 370), np.uint8)
    mask[100:200, 100:200] = 1
    arrays = [(str(i), mask) for i in range(10)] + [("ids", np.array(["x", "yy"]))]
    write_npz(tmp_path / "1.npz", arrays)
    time.sleep(2.1)  # zip stores times in steps of two seconds
    write_npz(tmp_path / "2.npz", iter(arrays))
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    assert (tmp_path / "1.npz").stat().st_size < 10 * mask.size / 50
    with np.load(tmp_path / "2.npz") as stored:
        assert stored["ids"].tolist() == ["x", "yy"]
        assert (stored["9"] == mask).all()


WRITERS = {
    "csv": lambda path: write_csv(path, ["a"], [("x",)]),
    "json": lambda path: write_json(path, {"a": 1}),
    "npz": lambda path: write_npz(path, [("a", np.arange(5))]),
}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full, where every write finds no space, is Linux's")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_the_stage_says_so_in_a_line(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    path.write_text("old")
    (tmp_path / f".out.{kind}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(SystemExit, match=rf"^error: {path}: No space left on device$"):
        run(WRITERS[kind], path)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_file_where_a_folder_must_be_is_said_in_a_line(tmp_path):
    (tmp_path / "metrics").touch()
    with pytest.raises(SystemExit, match=r"^error: .*metrics: File exists$"):
        run(write_json, tmp_path / "metrics" / "a.json", {})
