"""GitHub's workflows: their steps do here what they say there."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from study import ROOT, clone, environment, git

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
GH = """#!/bin/sh
echo "$@" > said
"""


def steps(file: Path) -> list[dict]:
    jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_step_is_a_script_and_every_target_there(file):
    for step in steps(file):
        subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
        for target in re.findall(r"\bmake ([\w-]+)", step["run"]):
            assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.M), target


@pytest.mark.slow
def test_a_pull_request_says_what_it_does_to_the_scores(study, tmp_path):
    path = clone(study, tmp_path / "clone", cache=study)
    for branch, name, value in (("base", "perplexity", 3), ("sharper", "temperature", 0.5)):
        git(path, "checkout", "-qb", branch, "main")
        text = YAML()
        params = text.load(path / "params.yaml")
        params["embed" if branch == "base" else "tta"][name] = value
        text.dump(params, path / "params.yaml")
        git(path, "commit", "-qam", f"{name} {value}")
    (path / ".venv/bin").mkdir(parents=True)
    (path / ".venv/bin/activate").touch()
    gh = tmp_path / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    values = {"BASE": "base", "NUMBER": "7", "RUN": "https://example.com/runs/1"}
    values |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "RUNNER_TEMP": str(tmp_path)}
    values["PATH"] = f"{gh.parent}{os.pathsep}{environment()['PATH']}"
    for step in steps(ROOT / ".github/workflows/pull-request.yml"):
        if "name" in step and "push" not in step.get("if", ""):  # not `make install`
            subprocess.run(["bash", "-e", "-c", step["run"]], cwd=path, env=environment() | values, check=True)
    comment = (tmp_path / "comparison.md").read_text("utf-8")
    print(comment)
    assert re.search(r"\| metrics/results.json +\| final.val_f1_tta +\| 0\.\d+ +\| 0\.\d+ +\| -?0\.\d+ +\|", comment)
    assert re.search(r"\| params.yaml +\| tta.temperature +\| - +\| 0.5 +\|", comment)
    assert "     M dvc.lock\n" in comment  # that was not committed
    assert "??" not in comment
    assert "perplexity" not in comment  # the base has got it since
    body = f"--body-file {tmp_path}/comparison.md"
    assert (path / "said").read_text() == f"pr comment 7 --edit-last --create-if-none {body}\n"
    assert (tmp_path / "summary.md").read_text("utf-8") in comment
    page = (path / "charts/index.html").read_text("utf-8")
    assert f'"rev": "{git(path, "rev-parse", "main")[:7]}' in page
