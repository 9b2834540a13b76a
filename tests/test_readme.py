"""The documents against the repository: links, files, commands with their options, and the README's table."""

import re
import shlex
import shutil
from itertools import pairwise

import pytest
from dvc.cli.parser import get_main_parser

import wbc.__main__
from study import ROOT, clone, git, run, set_knob, study_params
from wbc.config.files import read_yaml
from wbc.config.resolve import resolve

STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
DOCUMENTS.append("benchmarks/README.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
NOT_RUN = (  # command lines that need a network, a bucket, a person, other images or several studies
    r"make |source |kaggle |unzip |ln -s |dvc (remote|push)|python -m wbc (fetch|export)"
    r"|dvc exp run .*(data.source|profile=|repeats=|=range)"
)
NEW = {"wbc/segment/methods/disc.py"}  # a document tells its reader to write it


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def command_lines(text: str) -> list[str]:
    """The lines of the shell blocks, without comments."""
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)).splitlines()
    return [command for line in lines if (command := re.sub(r"(^|\s+)#\s.*", "", line).strip())]


def spans(text: str) -> list[str]:
    """Code in the running text."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", without_blocks(text))]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_named_files_exist(document):
    for link in re.findall(r"(?:\]\(|<img src=\")([^)\s\"]+)", TEXTS[document]):
        path, _, anchor = link.partition("#")
        if not re.match(r"https?:", link):
            target = ((ROOT / document).parent / path).resolve() if path else ROOT / document
            assert git(ROOT, "ls-files", target), f"{link} is not in git"
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link
    for name in spans(TEXTS[document]):
        if re.fullmatch(r"(wbc|stages|tests|docs|benchmarks|settings)/[\w./-]+", name) and name not in NEW:
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_targets_options_and_settings_of_a_command_exist(document, monkeypatch):
    commands = [*command_lines(TEXTS[document]), *spans(TEXTS[document])]
    for command in (part for line in commands for part in re.split(r"\s&&\s", line)):
        words = shlex.split(command.replace("…", "x")) if re.match(r"dvc |make |python -m |-S ", command) else []
        match words:
            case ["dvc", *arguments]:
                parsed = get_main_parser().parse_args(arguments)  # exits where it does not know one
                if arguments[0] == "repro":
                    assert {target.split("@")[0] for target in parsed.targets} <= STAGES.keys(), command
            case ["make", target, *_]:
                assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.M), command
            case ["python", "-m", "wbc", name, *arguments]:
                monkeypatch.setattr(f"wbc.cli.{name.replace('-', '_')}.run", lambda _: None)
                if "SET" not in arguments:  # stands for any name
                    wbc.__main__.main([name, *arguments])
            case ["python", "-m", module, *arguments]:
                source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8")
                for word in arguments:
                    assert not word.startswith("-") or f'"{word}"' in source, command
        changes = [word for flag, word in pairwise(words) if flag == "-S" and word not in ("x", "data.source=SET")]
        if changes:
            before, after = study_params(), study_params()
            for change in changes:
                set_knob(after, re.sub(r"range\((\d+),.*\)", r"\1", change))
            assert resolve(after) != resolve(before), f"{command} changes nothing"


def commands_to_run(document: str) -> list[str]:
    return [command for command in command_lines(TEXTS[document]) if not re.match(NOT_RUN, command)]


@pytest.mark.slow
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if commands_to_run(name)])
def test_the_commands_run(study, tmp_path, document):
    path = clone(study, tmp_path / "clone", cache=study)
    (path / "cells").mkdir()
    for image in sorted((path / "data/synthetic/images").iterdir())[:3]:
        shutil.copy(image, path / "cells")
    (path / "data/raw").mkdir()
    shutil.copytree(path / "data/laboratory", path / "data/elsewhere")
    shutil.copy(path / "runs/final-0/predict/submission.csv", path / "data/raw/sample_submission.csv")
    for command in commands_to_run(document):
        print(f"$ {command}\n{run(path, 'bash', '-c', command)}")


def test_the_readme_has_the_table_of_the_results():
    """But for rows that somebody added to the study since."""
    params, own = read_yaml(ROOT / "params.yaml"), study_params()
    added = {name for group in ("ladder", "features") for name in params[group].keys() - own[group]}
    lines = (ROOT / "plots/results.md").read_text("utf-8").splitlines(keepends=True)
    assert "".join(line for line in lines if added.isdisjoint(re.split("[`-]", line)[1:2])) in TEXTS["README.md"]
