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
    assert "3 predictions, complete\n" in capsys.readouterr().out
    path.write_text(path.read_text().replace("a,SNE\n", ""))
    with pytest.raises(SystemExit) as stop:
        main(["submission", str(path), "--sample", str(sample)])
    assert stop.value.code == 1
    assert capsys.readouterr().out == "ID 'a' is missing\n"


def test_without_a_sample_the_manifest_decides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_submission("row.csv", IDS, [1, 0, 1])
    with pytest.raises(SystemExit, match="error: no ingested images; run: dvc repro ingest"):
        main(["submission", "row.csv"])
    write_csv("data/ingest/study/manifest.csv", ["id", "part"], [("x", "train"), *((id, "test") for id in IDS)])
    main(["submission", "row.csv"])
    with pytest.raises(SystemExit, match=r"error: other\.csv: No such file"):
        main(["submission", "other.csv"])


def test_an_id_that_the_sample_lists_twice_is_wanted_once(tmp_path, capsys):
    write_submission(tmp_path / "row.csv", IDS, [1, 0, 1])
    write_csv(tmp_path / "sample.csv", ["ID"], [(id,) for id in [*IDS, IDS[0]]])
    main(["submission", str(tmp_path / "row.csv"), "--sample", str(tmp_path / "sample.csv")])
    assert "3 predictions, complete\n" in capsys.readouterr().out


HEADER = "the first line is {}; expected ID,labels and no other column"


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (b"ID,labels\nc,LY\nb,LY\na,SNE\n", ""),  # Kaggle matches rows by ID and columns by name
        (b"labels,ID\nLY,b\nSNE,a\nLY,c\n", ""),
        (b'\xef\xbb\xbf"ID","labels"\r\nb,LY\r\n\r\na,SNE\r\nc,LY\r\n', ""),
        (b",ID,labels\n0,b,LY\n1,a,LY\n2,c,LY\n", HEADER.format("',ID,labels'")),
        (b"ID,labels,p\nb,LY,1\na,LY,1\nc,LY,1\n", HEADER.format("'ID,labels,p'")),
        (b"ID;labels\nb;LY\na;LY\nc;LY\n", HEADER.format("'ID;labels'")),
        (b"ID, labels\nb,LY\na,LY\nc,LY\n", HEADER.format("'ID, labels'")),
        (b"b,LY\na,LY\nc,LY\n", HEADER.format("'b,LY'")),
        (b"", HEADER.format("''")),
        (b"ID,labels\nb, LY \na,LY\nc,LY\n", "row 1: label ' LY ' is none of SNE"),
        (b"ID,labels\nb ,LY\na,LY\nc,LY\n", "row 1: ID 'b ' is not in the test part"),
        (b"ID,labels\nb,LY\na,LY\nd,LY\n", "row 3: ID 'd' is not in the test part\nID 'c' is missing"),
        (b"ID,labels\nb,LY\na,LY\nc,LY\na,LY\n", "row 4: ID 'a' again"),
        (b"ID,labels\nb,LY,\na,LY\nc,LY\n", "row 1 does not have 2 values"),
        (b"ID,labels\nb,LY\na\nc,LY\n", "row 2 does not have 2 values"),
        (b'ID,labels\nb,LY\na,LY\nc,"LY\n', "not a CSV file in UTF-8"),
        ("ID,labels\nb,LY\na,LY\nc,LY\n".encode("utf-16"), "not a CSV file in UTF-8"),
    ],
)
def test_a_file_is_read_as_a_leaderboard_reads_it(tmp_path, capsys, content, refused):
    path, sample = tmp_path / "row.csv", tmp_path / "sample.csv"
    path.write_bytes(content)
    write_csv(sample, ["ID", "labels"], [(id, "SNE") for id in IDS])
    try:
        main(["submission", str(path), "--sample", str(sample)])
        said = ""
    except SystemExit as stop:
        said = capsys.readouterr().out + str(stop.code)
    assert refused in said
    assert bool(said) == bool(refused)


def test_checking_needs_no_pytorch():
    check = "import sys, wbc.__main__, wbc.cli.submission; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
