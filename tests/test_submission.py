"""What a leaderboard would refuse is found before it is sent."""

import subprocess
import sys

import pytest

from wbc.__main__ import main
from wbc.core.io import write_csv
from wbc.core.tables import write_submission

IDS = ["b", "a", "c"]


def test_what_is_written_passes_and_a_damaged_copy_exits_with_1(tmp_path, capsys):
    path, sample = tmp_path / "row.csv", tmp_path / "sample.csv"
    write_submission(path, IDS, [1, 0, 1])
    assert path.read_text() == "ID,labels\nb,LY\na,SNE\nc,LY\n"
    write_csv(sample, ["ID", "labels"], [(id, "SNE") for id in IDS])
    main(["submission", str(path), "--sample", str(sample)])
    assert "3 predictions, complete and in order" in capsys.readouterr().out
    path.write_text(path.read_text().replace("a,SNE\n", ""))
    with pytest.raises(SystemExit) as stop:
        main(["submission", str(path), "--sample", str(sample)])
    assert stop.value.code == 1
    assert capsys.readouterr().out == "ID 'a' is missing\n"


def test_without_a_sample_the_manifest_decides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_submission("row.csv", IDS, [1, 0, 1])
    with pytest.raises(SystemExit, match=r"error: data/manifest\.csv: no such file; run: dvc repro ingest"):
        main(["submission", "row.csv"])
    write_csv("data/manifest.csv", ["id", "part"], [("x", "train"), *((id, "test") for id in IDS)])
    main(["submission", "row.csv"])
    with pytest.raises(SystemExit, match=r"error: other\.csv: No such file"):
        main(["submission", "other.csv"])


def test_an_id_that_the_sample_lists_twice_is_wanted_once(tmp_path, capsys):
    write_submission(tmp_path / "row.csv", IDS, [1, 0, 1])
    write_csv(tmp_path / "sample.csv", ["ID"], [(id,) for id in [*IDS, IDS[0]]])
    main(["submission", str(tmp_path / "row.csv"), "--sample", str(tmp_path / "sample.csv")])
    assert "complete and in order" in capsys.readouterr().out


def test_checking_needs_no_pytorch():
    check = "import sys, wbc.__main__, wbc.cli.submission; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
