"""Files of trained models, also those of earlier versions: they load, or one line says why not."""

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wbc.config.schema import Augment, Model
from wbc.core.modelfile import FORMAT, WeightsError
from wbc.network import model as files
from wbc.network.model import load_model, save_model
from wbc.network.pixels import Pixels

# As the first version of the project wrote it: test_convnext, its weights rounded so that they compress.
FIRST = Path(__file__).parent / "models" / "format_0.safetensors.xz"
PIXELS = Pixels(np.uint8(3 * np.indices((1, 32, 32, 3)).sum(0) % 256), np.arange(1), torch.device("cpu"))
# What it said of that image.
PROBABILITIES = [0.0630, 0.0999, 0.1001, 0.0578, 0.0611, 0.0771, 0.1024, 0.0594, 0.0774, 0.1026, 0.0736, 0.0606, 0.0650]


class GrownModel(Model):
    fashion: float


class GrownAugment(Augment):
    fashion: float


@pytest.fixture
def first(tmp_path):
    path = tmp_path / "first.safetensors"
    path.write_bytes(lzma.decompress(FIRST.read_bytes()))
    return path


def probabilities(trained):
    return trained.probabilities(PIXELS)[0]


def rewritten(path, **header):
    """The file with some values of its header replaced, or taken out where they are None."""
    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["wbc"]) | header
    values = {key: value for key, value in values.items() if value is not None}
    save_file(load_file(path), path, metadata={"wbc": json.dumps(values)})
    return path


def test_a_file_of_the_first_version_says_the_same_today(first):
    trained = load_model(first)
    assert probabilities(trained).tolist() == pytest.approx(PROBABILITIES, abs=1e-3)
    assert trained.settings["model"]["name"] == "test_convnext"
    assert trained.reference.layer is None  # it knows distances of the pooled output
    assert trained.crop == 1.0  # of whole images
    assert trained.novelty(PIXELS).shape == (1,)
    assert trained.temperature == 1
    save_model(first, trained)  # in today's format
    torch.testing.assert_close(probabilities(load_model(first)), probabilities(trained))


@pytest.mark.parametrize(("group", "grown"), [("model", GrownModel), ("augment", GrownAugment)])
def test_a_setting_that_came_later_means_what_the_file_meant(first, monkeypatch, group, grown):
    monkeypatch.setattr(files, grown.__base__.__name__, grown)
    with pytest.raises(WeightsError, match=r"first.safetensors: its setting fashion: Field required$"):
        load_model(first)
    monkeypatch.setitem(files.LATER[group], "fashion", 0.5)
    trained = load_model(first)
    assert trained.settings[group]["fashion"] == 0.5
    assert probabilities(trained).tolist() == pytest.approx(PROBABILITIES, abs=1e-3)
    trained.settings[group]["fashion"] = 0.75  # what a file says itself stands
    save_model(first, trained)
    assert load_model(first).settings[group]["fashion"] == 0.75


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"format": FORMAT + 1}, f"of a later version of this project: format {FORMAT + 1}, this one reads up to"),
        ({"classes": ["A", "B"]}, "trained for other classes: A, B"),
        ({"classes": None}, "this version cannot read it: 'classes'"),
        ({"settings": {"model": {"name": "test_convnext"}, "augment": {}}}, "its setting "),
        ({"settings": {}}, "this version cannot read it: 'model'"),
    ],
    ids=["later", "classes", "nothing", "incomplete", "empty"],
)
def test_what_cannot_be_read_says_so_in_a_line(first, header, message):
    with pytest.raises(WeightsError, match=f"first.safetensors: {message}") as error:
        load_model(rewritten(first, **header))
    assert "\n" not in str(error.value)


def test_tensors_of_another_architecture_are_said_in_a_line(first):
    with safe_open(first, "pt") as file:
        settings = json.loads(file.metadata()["wbc"])["settings"]
    settings["model"]["name"] = "test_convnext2"
    with pytest.raises(WeightsError, match="this version cannot read it: Error") as error:
        load_model(rewritten(first, settings=settings))
    assert len(str(error.value)) < 400
