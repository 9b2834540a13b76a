"""Checkpoints, and the stage `train`, which shares a training among processes."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from settings import changed
from stages import train
from study import ROOT
from wbc.network.model import load_model
from wbc.network.pixels import load_part
from wbc.scoring.calibration import fit_temperature
from wbc.train.engine import Checkpoint, Trainer, checkpoint_key, fit


def test_the_key_changes_with_settings_files_and_libraries(tmp_path, monkeypatch):
    file = tmp_path / "data.npy"
    file.write_text("1")
    keys = [checkpoint_key({"lr": lr}, [file]) for lr in (1, 1, 2)]
    file.write_text("2")
    keys.append(checkpoint_key({"lr": 1}, [file]))
    for library in ("torch", "torchvision", "timm", "kornia"):
        monkeypatch.setattr(f"{library}.__version__", "9.9")
        keys.append(checkpoint_key({"lr": 1}, [file]))
    assert len({*keys}) == 7 == len({*keys[1:]})  # the first two are equal


def flip_bit(content):
    """Change a weight, which PyTorch does not notice."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[: len(content) // 2], flip_bit])
def test_a_damaged_checkpoint_is_renamed_and_training_starts_again(tiny_row, coloured, tmp_path, capsys, damage):
    path, row = tmp_path / "checkpoint.pt", changed(tiny_row, train={"epochs": 1})
    expected = fit(row, coloured, coloured, path).progress.history
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    capsys.readouterr()
    assert fit(row, coloured, coloured, path).progress.history == expected
    message = rf"{path} is damaged \(\w+\), now checkpoint.damaged: training starts from the beginning\nepoch   1/1 "
    assert re.match(message, capsys.readouterr().out)
    assert (tmp_path / "checkpoint.damaged").read_bytes() == damaged
    assert Checkpoint(path).load()["progress"]["history"] == expected
    with pytest.raises(IsADirectoryError):  # cannot be read, which does not mean damaged
        Checkpoint(tmp_path).load()


@pytest.fixture
def project(packed, tmp_path, monkeypatch):
    """A folder in which the stage trains the row `alone`."""
    path = shutil.copytree(packed, tmp_path / "project")
    monkeypatch.chdir(path)
    monkeypatch.setattr(train, "SCRATCH", path / "scratch")
    return path


SECOND = """
import sys
from pathlib import Path
from stages import run, train
train.SCRATCH = Path(sys.argv[1])
run(train.main, *sys.argv[2:])
"""


def written(path):
    return {file.relative_to(path): file.read_bytes() for file in (path / "runs").rglob("*.*") if file.is_file()}


@pytest.mark.parametrize("ends", [True, False])
def test_a_second_process_waits_and_takes_the_result_or_resumes(project, tmp_path, monkeypatch, ends):
    other = shutil.copytree(project, tmp_path / "other")  # as in `dvc exp run --temp`, which shares the scratch folder
    second, evaluate = [], Trainer.evaluate

    def meanwhile(trainer, part):
        if not second:
            command = [sys.executable, "-c", SECOND, project / "scratch", "alone", "0"]
            env = os.environ | {"PYTHONPATH": str(ROOT)}
            second.append(subprocess.Popen(command, cwd=other, env=env, stdout=subprocess.PIPE, text=True))
            while not second[0].stdout.readline().endswith("data: waiting for its result\n"):
                assert second[0].poll() is None
        elif not ends:
            raise KeyboardInterrupt
        return evaluate(trainer, part)

    with monkeypatch.context() as patch, nullcontext() if ends else pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "evaluate", meanwhile)
        train.main("alone", "0")
    output = second[0].communicate()[0]
    assert second[0].returncode == 0
    assert f"resuming after epoch {10 if ends else 1}\n" in output
    assert output.count("\nepoch ") == (0 if ends else 9)
    if not ends:
        shutil.rmtree(project / "scratch")
        train.main("alone", "0")
    assert len(written(other)) > 9
    assert written(project) == written(other)


def test_a_process_that_starts_later_trains_again(project, monkeypatch, capsys):
    train.main("alone", "0")
    before = written(project)
    for started, trains in ((train.STARTED, False), (float("inf"), True)):
        monkeypatch.setattr(train, "STARTED", started)
        capsys.readouterr()
        train.main("alone", "0")
        assert ("\nepoch " in capsys.readouterr().out) == trains
    assert written(project) == before
    assert len(list((project / "scratch").glob("*/finished"))) == 1


def test_the_temperature_is_fitted_to_the_validation_part(project):
    train.main("alone", "0")
    network = load_model("runs/alone-0/train/model.safetensors")
    parts = (load_part(name, 0, 0.34, torch.device("cpu")) for name in ("validation", "train", "test"))
    fitted = [fit_temperature(part.targets.numpy(), network.probabilities(part.pixels).numpy()) for part in parts]
    assert network.temperature == pytest.approx(fitted[0], abs=1e-4)
    assert min(abs(fitted[0] - other) for other in fitted[1:]) > 1e-3


def test_changed_pixels_are_not_resumed(project, monkeypatch):
    paths = []
    monkeypatch.setattr(train, "fit", lambda row, training, validation, checkpoint, on_epoch: paths.append(checkpoint))
    images = np.load("data/pixels/study/images.npy")
    for change in (0, 0, 1):
        images[0, 0, 0, 0] ^= change
        np.save("data/pixels/study/images.npy", images)
        with pytest.raises(TypeError):  # `fit` returned nothing
            train.main("alone", "0")
    assert paths[0] == paths[1] != paths[2]
