"""GitHub's workflows: their steps do here what they say there."""

import os
import re
import subprocess

import pytest
import yaml

from study import ROOT, clone, environment, git, set_knob, tiny, write_params

WORKFLOWS = {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in (ROOT / ".github/workflows").glob("*.yml")}


def steps(workflow: str) -> list[dict]:
    return [step for job in WORKFLOWS[workflow]["jobs"].values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_every_step_is_a_script_and_every_target_there(workflow):
    for step in steps(workflow):
        subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
        for target in re.findall(r"\bmake ([\w-]+)", step["run"]):
            assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.M), target


@pytest.mark.slow
def test_a_pull_request_says_what_it_does_to_the_scores(study, tmp_path):
    path = clone(study, tmp_path / "clone", cache=study)
    for branch, change in (("base", "embed.perplexity=3"), ("other", "+ladder.tuned.seed=1")):
        git(path, "checkout", "-qb", branch, "main")
        write_params(path, lambda params, change=change: (tiny(params), set_knob(params, change)))
        git(path, "commit", "-qam", change)
    gh = '#!/bin/sh\necho "$@" > said\n'
    for file, text in ((path / ".venv/bin/activate", ""), (tmp_path / "bin/gh", gh)):
        file.parent.mkdir(parents=True)
        file.write_text(text)
        file.chmod(0o755)
    values = {"BASE": "base", "NUMBER": "7", "RUN": "https://example.com/runs/1"}
    values |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "RUNNER_TEMP": str(tmp_path)}
    values["PATH"] = f"{tmp_path}/bin{os.pathsep}{environment()['PATH']}"
    for step in steps("pull-request"):
        if "name" in step and "push" not in step.get("if", ""):  # not `make install`
            subprocess.run(["bash", "-e", "-c", step["run"]], cwd=path, env=environment() | values, check=True)
    comment = (tmp_path / "comparison.md").read_text("utf-8")
    print(comment)
    assert re.search(r"\| metrics/results.json +\| tuned.val_f1 +\| 0\.\d+ +\| 0\.\d+ +\| -?0\.\d+ +\|", comment)
    assert re.search(r"\| params.yaml +\| ladder.tuned.seed +\| - +\| 1 +\|", comment)
    assert "     M dvc.lock\n" in comment  # that was not committed
    assert "??" not in comment
    assert "perplexity" not in comment  # the base has got it since
    body = f"--body-file {tmp_path}/comparison.md"
    assert (path / "said").read_text() == f"pr comment 7 --edit-last --create-if-none {body}\n"
    assert (tmp_path / "summary.md").read_text("utf-8") in comment
    assert f'"rev": "{git(path, "rev-parse", "main")[:7]}' in (path / "charts/index.html").read_text("utf-8")
