"""What a leaderboard would refuse is found before it is sent."""

import subprocess
import sys
from pathlib import Path

import pytest

from wbc.__main__ import main
from wbc.core.io import write_csv
from wbc.core.tables import write_submission

IDS = ["b", "a", "c"]


def test_without_a_sample_the_manifest_decides(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_submission("row.csv", IDS, [1, 0, 1])
    assert Path("row.csv").read_text() == "ID,labels\nb,LY\na,SNE\nc,LY\n"
    with pytest.raises(SystemExit, match="error: no ingested images; run: dvc repro ingest"):
        main(["submission", "row.csv"])
    write_csv("data/ingest/study/manifest.csv", ["id", "part"], [("x", "train"), *((id, "test") for id in IDS)])
    main(["submission", "row.csv"])
    assert capsys.readouterr().out == "row.csv: 3 predictions, complete\n"
    with pytest.raises(SystemExit, match=r"error: other\.csv: No such file"):
        main(["submission", "other.csv"])


HEADER = "the first line is '{}'; expected ID,labels and no other column"


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (b"ID,labels\nc,LY\nb,LY\na,SNE\n", ""),  # Kaggle matches rows by ID and columns by name
        (b"labels,ID\nLY,b\nSNE,a\nLY,c\n", ""),
        (b'\xef\xbb\xbf"ID","labels"\r\nb,LY\r\n\r\na,SNE\r\nc,LY\r\n', ""),
        (b",ID,labels\n0,b,LY\n1,a,LY\n2,c,LY\n", HEADER.format(",ID,labels")),
        (b"ID;labels\nb;LY\na;LY\nc;LY\n", HEADER.format("ID;labels")),
        (b"ID, labels\nb,LY\na,LY\nc,LY\n", HEADER.format("ID, labels")),
        (b"", HEADER.format("")),
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
def test_a_file_is_read_as_a_leaderboard_reads_it(tmp_path, monkeypatch, capsys, content, refused):
    monkeypatch.chdir(tmp_path)
    Path("row.csv").write_bytes(content)
    write_csv("sample.csv", ["ID"], [(id,) for id in [*IDS, IDS[0]]])  # an ID twice is expected once
    command = ["submission", "row.csv", "--sample", "sample.csv"]
    if refused:
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code  # not 0
        assert refused in capsys.readouterr().out + str(stop.value.code)
    else:
        main(command)
        assert capsys.readouterr().out == "row.csv: 3 predictions, complete\n"


def test_checking_needs_no_pytorch():
    check = "import sys, wbc.__main__, wbc.cli.submission; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
