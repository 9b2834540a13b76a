"""What an unfinished training leaves: of the right state, whole, and for one process at a time."""

import errno
import os
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import train
from study import ROOT
from wbc.network.model import load_model
from wbc.network.pixels import load_part
from wbc.scoring.calibration import temperature
from wbc.train import engine
from wbc.train.engine import checkpoint_key, fit


@pytest.fixture
def row(tiny_row):
    """Of one epoch."""
    return tiny_row.model_copy(update={"train": tiny_row.train.model_copy(update={"epochs": 1})})


# --- the name


def test_the_fingerprint_sees_settings_files_and_libraries(tmp_path, monkeypatch):
    code, data = tmp_path / "a.py", tmp_path / "data.npy"
    code.write_text("1")
    data.write_text("1")
    first = checkpoint_key({"lr": 1}, code, data)
    assert checkpoint_key({"lr": 1}, code, data) == first
    seen = {first, checkpoint_key({"lr": 2}, code, data)}
    for file in (code, data):
        file.write_text("2")
        seen.add(checkpoint_key({"lr": 1}, code, data))
    for library in ("torch", "torchvision", "timm", "kornia"):
        monkeypatch.setattr(f"{library}.__version__", "9.9")
        seen.add(checkpoint_key({"lr": 1}, code, data))
    assert len(seen) == 8


def test_it_sees_the_code_of_a_training():
    files = ("stages/train.py", "wbc/train/engine.py", "wbc/train/losses.py", "wbc/network/model.py", "wbc/core/io.py")
    assert {ROOT / file for file in files} <= set(train.code())


# --- damage


def flipped(state):
    """One bit of a weight, which PyTorch reads without a word."""
    place = len(state) // 2
    return state[:place] + bytes([state[place] ^ 1]) + state[place + 1 :]


DAMAGE = {
    "emptied": lambda state: b"",
    "truncated": lambda state: state[: len(state) // 2],
    "flipped": flipped,
    "overwritten": lambda state: b"no archive" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_and_training_starts_from_the_beginning(
    row, coloured, tmp_path, capsys, damage
):
    checkpoint = tmp_path / "checkpoint.pt"
    undisturbed = fit(row, coloured, coloured, checkpoint)
    damaged = damage(checkpoint.read_bytes())
    checkpoint.write_bytes(damaged)
    capsys.readouterr()
    again = fit(row, coloured, coloured, checkpoint)
    lines = capsys.readouterr().out.splitlines()
    assert f"{checkpoint} is damaged (" in lines[0]
    assert "now checkpoint.damaged: training starts from the beginning" in lines[0]
    assert lines[1].startswith("epoch   1/1")
    assert (tmp_path / "checkpoint.damaged").read_bytes() == damaged
    assert again[2].history == undisturbed[2].history
    assert engine._read(checkpoint)["progress"]["epoch"] == 1


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(row, coloured, tmp_path):
    (tmp_path / "checkpoint.pt").mkdir()
    with pytest.raises(IsADirectoryError):
        fit(row, coloured, coloured, tmp_path / "checkpoint.pt")


# --- the stage


@pytest.fixture
def project(packed, tmp_path, monkeypatch):
    """A folder in which the stage trains the row `alone`."""
    path = shutil.copytree(packed, tmp_path / "project")
    monkeypatch.chdir(path)
    monkeypatch.setattr(train, "SCRATCH", path / "scratch")
    return path


SECOND = """
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from stages import run, train
train.SCRATCH, train.code = Path(sys.argv.pop(1)), list
run(train.main)
"""


def written(path):
    """The content of what a training wrote into a folder, by name."""
    return {file.relative_to(path): file.read_bytes() for file in (path / "runs").rglob("*.*") if file.is_file()}


@pytest.mark.parametrize("ends", [True, False])
def test_a_second_process_waits_and_takes_the_result_or_goes_on_from_the_checkpoint(
    project, tmp_path, monkeypatch, ends
):
    other = shutil.copytree(project, tmp_path / "other")  # as `dvc exp run --temp` has it, but for the scratch folder
    came, real = [], engine.Trainer.evaluate

    def meanwhile(trainer, part):
        if not came:
            command = [sys.executable, "-c", SECOND, project / "scratch", "alone", "0"]
            env = os.environ | {"PYTHONPATH": str(ROOT)}
            came.append(subprocess.Popen(command, cwd=other, env=env, stdout=subprocess.PIPE, text=True))
            while not came[0].stdout.readline().endswith("data: waiting for its result\n"):
                assert came[0].poll() is None
        elif not ends:
            raise KeyboardInterrupt
        return real(trainer, part)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, "evaluate", meanwhile)
        patch.setattr(train, "code", list)  # this process has imported more than that one
        with nullcontext() if ends else pytest.raises(KeyboardInterrupt):
            train.main("alone", "0")
    said = came[0].communicate()[0]
    assert came[0].returncode == 0
    assert ("this is its result" in said, "resuming after epoch 1" in said) == (ends, not ends)
    assert said.count("\nepoch ") == (0 if ends else 9)
    if not ends:
        shutil.rmtree(project / "scratch")
        train.main("alone", "0")
    assert len(written(other)) > 9
    assert written(project) == written(other)


def test_a_result_is_for_those_who_waited_and_does_not_stay(project, monkeypatch):
    """Somebody who trains again, with --force, wants a training."""
    train.main("alone", "0")
    (scratch,) = (project / "scratch").iterdir()
    assert {path.name for path in scratch.iterdir()} == {"lock", "result"}
    assert train.taken(scratch)
    monkeypatch.setattr(train, "BEGUN", time.time())
    assert not train.taken(scratch)
    assert not (scratch / "result").exists()
    (scratch / "result").mkdir()
    train.taken(project / "scratch/another")
    assert scratch.exists()
    os.utime(scratch / "result", (0, 0))
    train.taken(project / "scratch/another")
    assert not scratch.exists()


def test_a_scratch_folder_that_does_not_go_away_costs_no_training(project, monkeypatch):
    real = os.rmdir

    def busy(path, **options):
        if "scratch" in str(path) or options:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)  # a file still open, on a network's disk
        real(path)

    monkeypatch.setattr(os, "rmdir", busy)
    train.main("alone", "0")
    assert Path("runs/alone-0/train.json").exists()


def test_the_temperature_of_a_model_is_of_its_validation_part(project):
    train.main("alone", "0")
    trained = load_model("runs/alone-0/train/model.safetensors")
    parts = (load_part(name, 0, 0.34, torch.device("cpu")) for name in ("validation", "train", "test"))
    found = [temperature(part.targets.numpy(), trained.probabilities(part.pixels).numpy()) for part in parts]
    assert trained.temperature == pytest.approx(found[0], abs=1e-4)
    assert min(abs(found[0] - other) for other in found[1:]) > 1e-3


def test_changed_pixels_resume_nothing(project, monkeypatch):
    """The same images packed otherwise, as another version of OpenCV would."""
    begun = []
    monkeypatch.setattr(train, "fit", lambda row, training, validation, checkpoint, log: begun.append(checkpoint))
    for _ in range(2):
        with pytest.raises(TypeError):  # there is nothing to go on with
            train.main("alone", "0")
    images = np.load("data/pixels/study/images.npy")
    images[0, 0, 0, 0] ^= 1
    np.save("data/pixels/study/images.npy", images)
    with pytest.raises(TypeError):
        train.main("alone", "0")
    assert begun[0] == begun[1] != begun[2]
