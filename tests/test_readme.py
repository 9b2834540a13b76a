"""What the documents say against the repository: their links, their commands and the options in them."""

import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from dvc.cli.parser import get_main_parser

from study import ROOT, clone, git, run, set_knob, study_params
from wbc.config import resolve

README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/README.md"]

# Command lines of the README that the test below cannot run, and why.
NOT_HERE = {
    "make repro": "installs from the network",
    "make test": "is what runs this",
    "source .venv/bin/activate": "the tests run in an environment already",
    "pip install 'dvc[s3]==3.67.1'": "network",
    "dvc remote add -d storage s3://BUCKET/wbc": "a bucket; tests/test_commands.py pushes to a folder",
    "dvc push": "the same",
    "kaggle competitions download -c wbc-bench-2026 -p /big/disk": "network",
    "unzip -q /big/disk/wbc-bench-2026.zip -d /big/disk/wbcbench": "the challenge's images",
    "ln -s /big/disk/wbcbench data/raw": "the challenge's images",
    "dvc exp run -S profile=report -S data.source=wbcbench -S data.path=data/raw": "the challenge's images and a GPU",
    "dvc exp run -S data.source=folder": "images of one's own; tests/test_sources.py draws such folders",
    "python -m wbc export --model models/efficientnet.safetensors": "takes 15 s; tests/test_use.py exports another",
    "dvc exp run -S data.source=folder -S profile=report": "images of one's own and a GPU",
}


def prepare(path: Path) -> None:
    """What the README's reader has by then: a folder of cells and the competition's sample submission."""
    (path / "cells").mkdir()
    for image in sorted((path / "data/synthetic/images").iterdir())[:3]:
        shutil.copy(image, path / "cells")
    (path / "data/raw").mkdir()
    shutil.copy(path / "data/predictions/final.csv", path / "data/raw/sample_submission.csv")


def blocks(text: str) -> list[str]:
    """The command lines of the shell blocks, without their comments."""
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)).replace("\\\n", " ").splitlines()
    commands = (re.sub(r"(^|\s+)#\s.*", "", line).strip() for line in lines)
    return [command for command in commands if command]


def spans(text: str) -> list[str]:
    """Code in the running text."""
    return re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    links = re.findall(r"(?:\]\(|<img src=\")([^)\s\"]+)", document.read_text("utf-8"))
    for link in links:
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert git(ROOT, "ls-files", target), f"{link} is not in git"
        assert not anchor or anchor in anchors(target), link


def commands_of(document: Path) -> list[str]:
    text = document.read_text("utf-8")
    return [part for line in [*blocks(text), *spans(text)] for part in re.split(r"\s&&\s", " ".join(line.split()))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_targets_options_and_knobs_in_a_command_exist(document):
    for command in commands_of(document):
        words = shlex.split(command.replace("…", "x")) if re.match(r"dvc |make |python -m |-S ", command) else []
        match words:
            case ["dvc", *arguments]:
                get_main_parser().parse_args(arguments)  # exits where it does not know one
            case ["make", target]:
                assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.M), command
            case ["python", "-m", module, *arguments]:
                file = ROOT / Path(*module.split("."))
                source = (file / "__main__.py" if file.is_dir() else file.with_suffix(".py")).read_text("utf-8")
                for word in arguments:
                    assert not word.startswith("-") or f'"{word}"' in source, command
        if changes := [word for flag, word in pairwise(words) if flag == "-S" and word != "x"]:
            before, after = (study_params() for _ in range(2))
            for change in changes:
                set_knob(after, change)
            # the features' masks are read by dvc.yaml itself
            acts = resolve(after) != resolve(before) or after["features"] != before["features"]
            assert acts, f"{command} changes nothing"


def test_what_cannot_be_run_here_still_stands_in_the_readme():
    assert set(NOT_HERE) <= set(blocks(README.read_text("utf-8")))


@pytest.mark.slow
def test_the_readmes_commands_run(study, tmp_path):
    path = clone(study, tmp_path / "clone", cache=study)
    prepare(path)
    for command in blocks(README.read_text("utf-8")):
        if command not in NOT_HERE:
            print(f"$ {command}\n{run(path, 'bash', '-c', command)}")
