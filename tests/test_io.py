"""Outputs are whole or absent, and the same bytes for the same content."""

import time

import numpy as np
import pytest

from wbc.io import atomic, write_csv, write_json, write_npz


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_are_rounded_and_nan_is_refused(tmp_path):
    write_json(tmp_path / "a.json", {"f1": np.float32(0.1), "n": np.int64(3), "deep": {"x": [1 / 3]}})
    assert (
        tmp_path / "a.json"
    ).read_text() == '{\n  "f1": 0.1,\n  "n": 3,\n  "deep": {\n    "x": [\n      0.333333\n    ]\n  }\n}\n'
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "b.json", {"f1": float("nan")})
    assert not (tmp_path / "b.json").exists()
    write_csv(tmp_path / "a.csv", ["name", "x"], [("a,b", 2 / 3)])
    assert (tmp_path / "a.csv").read_bytes() == b'name,x\n"a,b",0.666667\n'


def test_npz_bytes_do_not_depend_on_the_time(tmp_path):
    arrays = [("a", np.arange(5)), ("ids", np.array(["x", "yy"]))]
    write_npz(tmp_path / "1.npz", arrays)
    time.sleep(2.1)  # zip stores times in steps of two seconds
    write_npz(tmp_path / "2.npz", iter(arrays))
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "2.npz") as stored:
        assert stored["ids"].tolist() == ["x", "yy"]
