"""What the documents say against the repository: their links, their commands and the options in them."""

import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from dvc.cli.parser import get_main_parser

import wbc.__main__
from study import ROOT, clone, git, run, set_knob, study_params
from wbc.config import resolve

README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/README.md"]

# Command lines of the documents that the test below cannot run, and why.
NOT_HERE = {
    "make repro": "installs from the network",
    "make test": "is what runs this",
    "source .venv/bin/activate": "the tests run in an environment already",
    "dvc remote add -d storage s3://BUCKET/wbc": "a bucket; tests/test_remote.py has a server of its own",
    "dvc remote modify storage verify true": "the same",
    "dvc push": "the same",
    "dvc exp run --queue -S 'loss.gamma=range(0,3)'": "minutes; tests/test_commands.py runs two",
    "kaggle competitions download -c wbc-bench-2026 -p /big/disk": "network",
    "python -m wbc fetch pbc data/raw": "network; tests/test_fetch.py has a server of its own",
    "unzip -q /big/disk/wbc-bench-2026.zip -d /big/disk/wbcbench": "the challenge's images",
    "ln -s /big/disk/wbcbench data/raw": "the challenge's images",
    "dvc exp run -S profile=report -S data.source=wbcbench": "the challenge's images and a GPU",
    "dvc exp run -S profile=laptop blend@best-0": "images of one's own and minutes; tests/test_layouts.py",
    "dvc exp run -S 'data.source.sample=[pbc,aml_lmu]'": "two public sets; tests/test_public_sources.py draws such",
    "dvc exp run -S data.source=folder": "images of one's own; tests/test_sources.py draws such folders",
    "python -m wbc export --model models/efficientnet-0.safetensors": "takes 15 s; tests/test_use.py exports another",
    "dvc exp run -S 'repeats=[0,1,2]'": "two studies more; tests/test_knobs.py asks DVC what it would run",
    "dvc exp run -S split.outer=5 -S 'repeats=[0,1,2,3,4]'": "five studies; tests/test_pipeline.py runs two folds",
    "dvc exp run -S data.source=folder -S profile=report": "images of one's own and a GPU",
}

NEW = {"wbc/segment/methods/disc.py"}  # what a document tells its reader to write


def of_each_document(documents: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", documents, ids=lambda path: str(path.relative_to(ROOT)))


def prepare(path: Path) -> None:
    """What a document's reader has by then: a folder of cells and the competition's sample submission."""
    (path / "cells").mkdir()
    for image in sorted((path / "data/synthetic/images").iterdir())[:3]:
        shutil.copy(image, path / "cells")
    (path / "data/raw").mkdir()
    shutil.copytree(path / "data/laboratory", path / "data/elsewhere")
    shutil.copy(path / "data/predictions/final-0.csv", path / "data/raw/sample_submission.csv")


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


@of_each_document(DOCUMENTS)
def test_every_link_leads_somewhere(document):
    links = re.findall(r"(?:\]\(|<img src=\")([^)\s\"]+)", document.read_text("utf-8"))
    for link in links:
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert git(ROOT, "ls-files", target), f"{link} is not in git"
        assert not anchor or anchor in anchors(target), link


@of_each_document(DOCUMENTS)
def test_a_file_that_is_named_exists(document):
    for name in spans(document.read_text("utf-8")):
        if re.fullmatch(r"(wbc|stages|tests|docs|benchmarks|configs)/[\w./-]+", name) and name not in NEW:
            assert (ROOT / name).exists(), name


def commands_of(document: Path) -> list[str]:
    text = document.read_text("utf-8")
    return [part for line in [*blocks(text), *spans(text)] for part in re.split(r"\s&&\s", " ".join(line.split()))]


@of_each_document(DOCUMENTS)
def test_targets_options_and_knobs_in_a_command_exist(document, monkeypatch):
    for command in commands_of(document):
        words = shlex.split(command.replace("…", "x")) if re.match(r"dvc |make |python -m |-S ", command) else []
        match words:
            case ["dvc", *arguments]:
                get_main_parser().parse_args(arguments)  # exits where it does not know one
            case ["make", *targets]:
                for target in (word for word in targets if "=" not in word):
                    assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.M), command
            case ["python", "-m", "wbc", name, *arguments] if name != "x":  # x: left out
                monkeypatch.setattr(wbc.__main__, name.replace("-", "_"), lambda _: None)
                wbc.__main__.main([name, *arguments])
            case ["python", "-m", module, *arguments]:
                file = ROOT / Path(*module.split("."))
                source = (file / "__main__.py" if file.is_dir() else file.with_suffix(".py")).read_text("utf-8")
                for word in arguments:
                    assert not word.startswith("-") or f'"{word}"' in source, command
        if changes := [word for flag, word in pairwise(words) if flag == "-S" and word != "x"]:
            before, after = (study_params() for _ in range(2))
            for change in changes:
                set_knob(after, re.sub(r"range\((\d+),.*\)", r"\1", change))
            assert resolve(after) != resolve(before), f"{command} changes nothing"


def commands_to_run(document: Path) -> list[str]:
    return [command for command in blocks(document.read_text("utf-8")) if command not in NOT_HERE]


def test_what_cannot_be_run_here_still_stands_in_a_document():
    assert set(NOT_HERE) <= {command for document in DOCUMENTS for command in blocks(document.read_text("utf-8"))}


@pytest.mark.slow
@of_each_document(list(filter(commands_to_run, DOCUMENTS)))
def test_the_commands_run(study, tmp_path, document):
    path = clone(study, tmp_path / "clone", cache=study)
    prepare(path)
    for command in commands_to_run(document):
        print(f"$ {command}\n{run(path, 'bash', '-c', command)}")


def test_a_room_imports_from_those_above_it_alone():
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    rooms = re.findall(r"^\| `(\w+)` \|", table, re.M)
    assert {path.parent.name for path in (ROOT / "wbc").glob("*/__init__.py")} | {"projection"} == set(rooms)
    for number, room in enumerate(rooms):
        for file in [*(ROOT / "wbc" / room).rglob("*.py"), ROOT / f"wbc/{room}.py"]:
            text = file.read_text("utf-8") if file.exists() else ""
            imported = set(re.findall(r"^\s*(?:from|import) wbc\.(\w+)", text, re.M))
            assert imported.isdisjoint(rooms[number + 1 :]), file


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= 10_000


def test_the_readme_has_the_table_of_the_results():
    assert (ROOT / "plots/results.md").read_text("utf-8") in README.read_text("utf-8")
