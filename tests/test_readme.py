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
from wbc.config.files import read_yaml
from wbc.config.resolve import resolve

README = ROOT / "README.md"
STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/README.md"]

# Command lines of the documents that the test below cannot run, and why.
NOT_HERE = {
    r"make (repro|test)|source ": "what runs this, in an environment that is there already",
    r"dvc (remote |push)": "a bucket; tests/test_remote.py has a server of its own",
    r"python -m wbc fetch": "network; tests/test_fetch.py has a server of its own",
    r"kaggle |unzip |ln -s |.*data.source=wbcbench": "the challenge's images",
    r"dvc exp run .*(data.source|profile=|blend@best)": "images of one's own; tests/test_layouts.py, test_sources.py",
    r"dvc exp run .*(repeats=|=range)": "several studies; tests/test_knobs.py, test_pipeline.py, test_commands.py",
    r"python -m wbc export": "takes 15 s; tests/test_use.py exports another",
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
    shutil.copy(path / "runs/final-0/predict/submission.csv", path / "data/raw/sample_submission.csv")


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
        if re.fullmatch(r"(wbc|stages|tests|docs|benchmarks|settings)/[\w./-]+", name) and name not in NEW:
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
                parsed = get_main_parser().parse_args(arguments)  # exits where it does not know one
                if arguments[0] == "repro" or arguments[:2] == ["exp", "run"]:
                    assert {target.split("@")[0] for target in parsed.targets} <= STAGES.keys(), command
            case ["make", *targets]:
                for target in (word for word in targets if "=" not in word):
                    assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.M), command
            case ["python", "-m", "wbc", name, *arguments] if name != "x":  # x: left out
                monkeypatch.setattr(f"wbc.cli.{name.replace('-', '_')}.run", lambda _: None)
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
    return [command for command in blocks(document.read_text("utf-8")) if not re.match("|".join(NOT_HERE), command)]


@pytest.mark.slow
@of_each_document(list(filter(commands_to_run, DOCUMENTS)))
def test_the_commands_run(study, tmp_path, document):
    path = clone(study, tmp_path / "clone", cache=study)
    prepare(path)
    for command in commands_to_run(document):
        print(f"$ {command}\n{run(path, 'bash', '-c', command)}")


def test_the_readme_has_the_table_of_the_results():
    """But for rows that somebody added to the study since."""
    params, own = read_yaml(ROOT / "params.yaml"), study_params()
    added = {name for group in ("ladder", "features") for name in params[group].keys() - own[group]}
    lines = (ROOT / "plots/results.md").read_text("utf-8").splitlines(keepends=True)
    table = "".join(line for line in lines if added.isdisjoint(re.split("[`-]", line)[1:2]))
    assert table in README.read_text("utf-8")
