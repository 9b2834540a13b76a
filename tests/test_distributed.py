"""One training in several processes, from the stage's command to its outputs."""

import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file

from settings import STILL, changed
from study import ROOT, alone, dvc, environment, start
from wbc.config.files import dumped, read_yaml

STAGE = ("repro", "-s", "--force", "train@alone-0")  # forced: DVC would take what it knows from an earlier run

MODEL = "runs/alone-0/train/model.safetensors"
LAST_KILL = 5  # the weights that are kept are of a later epoch


@pytest.fixture
def repository(packed, tmp_path):
    """A DVC repository in which nothing but the row `alone` is left to train."""
    start(tmp_path, alone)
    for folder in ("data", "settings"):
        shutil.copytree(packed / folder, tmp_path / folder, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.slow
def test_it_ends_as_in_one_process_and_killed_in_the_same_bytes(repository, monkeypatch):
    """Without what each process draws for itself. Sums are taken in another order than one process takes them."""
    monkeypatch.setenv("PET_NPROC_PER_NODE", "3")  # of two, sums do not depend on their order
    dvc(repository, *STAGE)
    weights, curves = load_file(repository / MODEL), read_curves(repository)
    file = repository / "settings/train/alone.yaml"
    file.write_text(dumped(read_yaml(file) | {"launch": "torchrun"}))
    assert "epoch  10/10" in dvc(repository, *STAGE)
    together = load_file(repository / MODEL)
    for name, expected in weights.items():
        torch.testing.assert_close(together[name], expected, rtol=1e-3, atol=1e-3, msg=name)
    pd.testing.assert_frame_equal(read_curves(repository), curves, rtol=1e-3, atol=1e-4)

    undisturbed = written(repository)
    assert json.loads((repository / "runs/alone-0/train.json").read_text())["best_epoch"] > LAST_KILL
    seed = int(os.environ.get("WBC_KILL_SEED", random.randrange(2**32)))
    epoch = random.Random(seed).randint(1, LAST_KILL)
    print(f"WBC_KILL_SEED={seed}: killed after epoch {epoch}")
    kill(repository, epoch)
    assert not (repository / MODEL).exists()
    assert "resuming after epoch" in dvc(repository, *STAGE)
    assert written(repository) == undisturbed


def read_curves(path) -> pd.DataFrame:
    """DVCLive's curves, by epoch."""
    files = sorted((path / "runs/alone-0/live/plots").rglob("*.tsv"))
    assert len(files) == 6
    return pd.concat([pd.read_csv(file, sep="\t", index_col="step") for file in files], axis=1)


def written(path) -> dict[str, bytes]:
    """The content of what a training writes, by name."""
    return {str(file): file.read_bytes() for file in path.glob("runs/**/*.*") if file.is_file()}


def kill(path, epoch):
    """Start the stage and kill, after that epoch, DVC with all it started, as a power cut would."""
    command = [sys.executable, "-m", "dvc", *STAGE]
    with subprocess.Popen(command, cwd=path, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if re.match(rf"epoch +{epoch}/", line):
                family = psutil.Process(process.pid)
                for each in (family, *family.children(recursive=True)):
                    each.kill()


PROCESS = """
import pickle, sys
from pathlib import Path
from wbc.compute import pin
pin(threads=1, isa="avx2")
import torch
from wbc.network import distributed
from wbc.train.engine import fit
out = Path(sys.argv[1])
row, train = pickle.loads((out / "task.pkl").read_bytes())
with distributed.process_group():
    model, _, progress = fit(row, train, train, out / "checkpoint.pt")
    assert len(distributed.shard(torch.arange(12))) == 12 // distributed.world_size()
    states = distributed.gather(torch.cat([t.flatten().double() for t in model.state_dict().values()]))
    if not distributed.rank():
        torch.save((states, progress.history, model.state_dict()), out / "result.pt")
"""


def fitted(processes, row, images, out):
    """All weights and statistics of each of the processes, as one tensor each; history and weights of the first."""
    out.mkdir()
    (out / "task.pkl").write_bytes(pickle.dumps((row, images)))
    (out / "process.py").write_text(PROCESS)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run([*launcher, out / "process.py", out], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    states, history, weights = torch.load(out / "result.pt", weights_only=True)
    assert len(states) == processes
    return states, history, weights


def test_processes_end_with_the_same_statistics_of_batch_norms(tiny_row, coloured, tmp_path):
    """Each infers its shard of the images: a score must be of one model."""
    row = changed(tiny_row, model={"name": "test_efficientnet"}, train={"epochs": 1})
    (first, second), *_ = fitted(2, row, coloured, tmp_path / "2")
    assert torch.equal(first, second)


@pytest.mark.parametrize("loss", [{"name": "focal"}, {"name": "cross_entropy"}])
def test_two_processes_agree_with_one(tiny_row, coloured, tmp_path, loss):
    """With batches that do not divide by two, and without what each process draws for itself.

    Sums are taken in another order, so weights agree to 1e-4 of their size after 20 steps, not to the last bit.
    """
    row = changed(
        tiny_row, train={"batch_size": 7, "freeze": 1}, model={"dropout": 0.0}, loss=loss, optim={"clip_norm": 0.5}
    )
    row = row.model_copy(update={"augment": STILL})
    _, one, alone = fitted(1, row, coloured, tmp_path / "1")
    _, two, together = fitted(2, row, coloured, tmp_path / "2")
    assert np.allclose(one, two, rtol=1e-4, atol=1e-6)
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
