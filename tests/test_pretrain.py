"""The weights that the sample's ConvNeXt starts from: what they are learned from, and that they are in git."""

import subprocess

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from study import ROOT, study_params
from tools.pretrain import MODEL, SEED, cell, cells, pretrain
from wbc.config.files import DRAWN_CELLS
from wbc.config.resolve import resolve
from wbc.config.schema import Model
from wbc.network.model import build
from wbc.synthetic import class_counts, draw, write_dataset


def test_its_cells_are_none_of_a_sample_of_the_same_seed(tmp_path):
    """The same class, drawn with the same seed and number, is another cell."""
    write_dataset(tmp_path, {"train": class_counts(26, 1)}, 48, SEED)
    rows = [line.split(",") for line in (tmp_path / "labels.csv").read_text().splitlines()[1:]]
    drawn = {draw(label, 48, np.random.default_rng([SEED, i]))[0].tobytes() for i, (_, label, _) in enumerate(rows)}
    files = sorted((tmp_path / "images").glob("*"))
    first = cv2.imencode(".jpg", draw(rows[0][1], 48, np.random.default_rng([SEED, 0]))[0][..., ::-1], [1, 95])[1]
    assert first.tobytes() == files[0].read_bytes()  # that is how a sample is drawn
    learned_from = {cell(index, 48).tobytes() for index in range(len(rows) * 13)}
    assert len(learned_from) == len(rows) * 13
    assert not drawn & learned_from


def test_it_learns_what_is_measured_on_the_cells():
    images, features = cells(39, drawn=48, size=32)
    assert images.shape == (39, 32, 32, 3)
    assert images.dtype == torch.uint8
    assert features.shape == (39, 89)
    assert features.mean(0).abs().max() < 0.2  # but for what is cut off
    (backbone, errors), (again, _) = (pretrain(images, features, epochs=15, batch_size=13) for _ in range(2))
    assert errors[-1] < 0.95 * errors[0]
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), again.parameters(), strict=True))


def test_every_convnext_row_of_the_sample_starts_from_the_weights_in_git():
    resolved = resolve(study_params())
    rows = {name: resolved[f"train/{name}"]["model"] for name in resolved["report"]["networks"]}
    path = DRAWN_CELLS.as_posix()
    assert {model["weights"] for name, model in rows.items() if name != "efficientnet"} == {path}
    assert {model["name"] for model in rows.values() if model["weights"] == path} == {MODEL}
    tracked = subprocess.run(["git", "ls-files", "--error-unmatch", path], cwd=ROOT, capture_output=True)
    assert tracked.returncode == 0
    assert (ROOT / path).stat().st_size < 3_000_000
    settings = Model(**rows["final"]).model_copy(update={"weights": str(ROOT / path)})
    loaded = build(settings)[0].backbone.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in load_file(ROOT / path).items())
