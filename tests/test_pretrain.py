"""The weights that the sample's ConvNeXt starts from: what they are learned from, and that nobody has to learn them."""

import subprocess

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from study import ROOT, clone, dvc, ran, write_params
from wbc.config import ConfigError, Model, load_pretraining, read_yaml, resolve
from wbc.network.model import build
from wbc.pretrain import cell, cells, pretrain
from wbc.synthetic import draw, write_dataset

WEIGHTS = ROOT / "data/weights/drawn_cells.safetensors"


def small(params: dict) -> None:
    params["pretrain"] |= {"cells": 39, "drawn": 48, "size": 32, "epochs": 15, "batch_size": 13}


@pytest.fixture
def settings(tmp_path):
    write_params(tmp_path, small)
    return load_pretraining(tmp_path / "params.yaml")


def test_its_cells_are_none_of_a_sample_of_the_same_seed(tmp_path):
    """The same class, drawn with the same seed and number, is another cell."""
    write_dataset(tmp_path, train=26, test=0, minimum_train=1, minimum_test=0, size=48, seed=7)
    rows = [line.split(",") for line in (tmp_path / "labels.csv").read_text().splitlines()[1:]]
    drawn = {draw(label, 48, np.random.default_rng([7, i]))[0].tobytes() for i, (_, label, _) in enumerate(rows)}
    files = sorted((tmp_path / "images").glob("*"))
    first = cv2.imencode(".jpg", draw(rows[0][1], 48, np.random.default_rng([7, 0]))[0][..., ::-1], [1, 95])[1]
    assert first.tobytes() == files[0].read_bytes()  # that is how a sample is drawn
    learned_from = {cell(7, index, 48).tobytes() for index in range(len(rows) * 13)}
    assert len(learned_from) == len(rows) * 13
    assert not drawn & learned_from


def test_it_learns_what_is_measured_on_the_cells(settings):
    losses = []
    images, features = cells(settings[0])
    assert images.shape == (39, 32, 32, 3)
    assert images.dtype == torch.uint8
    assert features.shape == (39, 89)
    assert features.mean(0).abs().max() < 0.2  # but for what is cut off
    backbone = pretrain(*settings, images, features, losses.append)
    first, last = (float(line.rpartition(" ")[2]) for line in (losses[0], losses[-1]))
    assert last < 0.95 * first
    again = pretrain(*settings, images, features, losses.append)
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), again.parameters(), strict=True))


def test_a_wrong_setting_is_one_line(tmp_path):
    write_params(tmp_path, lambda params: params["pretrain"].update(model="convnext_tini"))
    with pytest.raises(ConfigError, match=r"pretrain\.model = 'convnext_tini': .* did you mean 'convnext_tiny'"):
        load_pretraining(tmp_path / "params.yaml")
    write_params(tmp_path, lambda params: params["pretrain"].update(cells=0))
    with pytest.raises(ConfigError, match=r"pretrain\.cells = 0: should be greater than or equal to 1"):
        load_pretraining(tmp_path / "params.yaml")


def test_every_convnext_row_of_the_sample_starts_from_the_weights_in_git():
    params = read_yaml(ROOT / "params.yaml")
    rows = {name: row for name, row in resolve(params).items() if "model" in row}
    path = str(WEIGHTS.relative_to(ROOT))
    assert {row["model"]["weights"] for name, row in rows.items() if name != "efficientnet"} == {path}
    tracked = subprocess.run(["git", "ls-files", "--error-unmatch", path], cwd=ROOT, capture_output=True)
    assert tracked.returncode == 0
    assert WEIGHTS.stat().st_size < 3_000_000
    stored = load_file(WEIGHTS)
    settings = Model(**rows["final"]["model"]).model_copy(update={"weights": str(WEIGHTS)})
    loaded = build(settings)[0].backbone.state_dict()
    assert settings.name == params["pretrain"]["model"]
    assert all(torch.equal(loaded[name], tensor) for name, tensor in stored.items())


@pytest.mark.slow
def test_a_clone_takes_them_as_they_are(study, tmp_path):
    """Even one whose code has changed since."""
    path = clone(study, tmp_path / "clone", cache=study)
    before = (path / "data/weights/drawn_cells.safetensors").read_bytes()
    (path / "wbc/pretrain.py").write_text("raise SystemExit('started')\n")
    output = dvc(path, "repro")
    assert "pretrain" not in ran(output)
    assert "started" not in output
    assert (path / "data/weights/drawn_cells.safetensors").read_bytes() == before
