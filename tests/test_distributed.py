"""One training in several processes, from the stage's command to its outputs."""

import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys

import pandas as pd
import psutil
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file

from study import ROOT, alone, dvc, environment, start

STAGE = ("repro", "-s", "--force", "train@alone")  # forced: DVC would take what it knows from an earlier run

LAST_KILL = 5  # the weights that are kept are of a later epoch


@pytest.fixture
def repository(packed, tmp_path):
    """A DVC repository in which nothing but the row `alone` is left to train."""
    start(tmp_path, alone)
    for folder in ("data", "configs"):
        shutil.copytree(packed / folder, tmp_path / folder, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])  # of two, sums do not depend on their order
def test_it_ends_as_in_one_process_and_killed_in_the_same_bytes(repository, monkeypatch, processes):
    """Without what each process draws for itself. Sums are taken in another order than one process takes them."""
    monkeypatch.setenv("PET_NPROC_PER_NODE", str(processes))
    dvc(repository, *STAGE)
    weights, curves = load_file(repository / "models/alone.safetensors"), read_curves(repository)
    launch = YAML().load(repository / "configs/compute.yaml") | {"launch": "torchrun"}
    YAML().dump(launch, repository / "configs/compute.yaml")
    assert "epoch  10/10" in dvc(repository, *STAGE)
    together = load_file(repository / "models/alone.safetensors")
    for name, expected in weights.items():
        torch.testing.assert_close(together[name], expected, rtol=1e-3, atol=1e-3, msg=name)
    pd.testing.assert_frame_equal(read_curves(repository), curves, rtol=1e-3, atol=1e-4)

    undisturbed = written(repository)
    assert json.loads((repository / "metrics/train/alone.json").read_text())["best_epoch"] > LAST_KILL
    seed = int(os.environ.get("WBC_KILL_SEED", random.randrange(2**32)))
    epoch = random.Random(seed).randint(1, LAST_KILL)
    print(f"WBC_KILL_SEED={seed}: killed after epoch {epoch}")
    kill(repository, epoch)
    assert not (repository / "models/alone.safetensors").exists()
    assert "resuming after epoch" in dvc(repository, *STAGE)
    assert written(repository) == undisturbed


def read_curves(path) -> pd.DataFrame:
    """DVCLive's curves, by epoch."""
    files = sorted((path / "plots/train/alone/plots").rglob("*.tsv"))
    assert len(files) == 6
    return pd.concat([pd.read_csv(file, sep="\t", index_col="step") for file in files], axis=1)


def written(path) -> dict[str, bytes]:
    """The content of what a training writes, by name."""
    files = [file for folder in ("models", "metrics/train", "plots/train") for file in (path / folder).rglob("*.*")]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


def kill(path, epoch):
    """Start the stage and kill, after that epoch, DVC with all it started, as a power cut would."""
    command = [sys.executable, "-m", "dvc", *STAGE]
    with subprocess.Popen(command, cwd=path, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if re.match(rf"epoch +{epoch}/", line):
                family = psutil.Process(process.pid)
                for each in (family, *family.children(recursive=True)):
                    each.kill()


SAME = """
import pickle, sys
from pathlib import Path
from wbc.compute import pin
pin(threads=1, isa="avx2")
import torch
from wbc.network import distributed
from wbc.train.engine import fit
row, train = pickle.loads(Path(sys.argv[1]).read_bytes())
with distributed.group():
    model, _, _ = fit(row, train, train, Path(sys.argv[1]).with_suffix(".pt"))
    first, second = distributed.gather(torch.cat([t.flatten().double() for t in model.state_dict().values()]))
    assert torch.equal(first, second)
"""


def test_processes_end_with_the_same_statistics_of_batch_norms(tiny_row, coloured, tmp_path):
    """Each infers its share of the images: a score must be of one model."""
    settings = {"model": tiny_row.model.model_copy(update={"name": "test_efficientnet"})}
    settings["train"] = tiny_row.train.model_copy(update={"epochs": 1})
    (tmp_path / "task.pkl").write_bytes(pickle.dumps((tiny_row.model_copy(update=settings), coloured)))
    (tmp_path / "same.py").write_text(SAME)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([*launcher, tmp_path / "same.py", tmp_path / "task.pkl"], env=env, check=True)
