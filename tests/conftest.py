"""Shared by all tests: pinned numerics, and settings small enough to train in a second."""

import os

import pytest

from wbc.compute import pin

pin(threads=2, isa="avx2")  # before anything imports NumPy or PyTorch
os.environ.setdefault("TQDM_DISABLE", "1")


@pytest.fixture
def params():
    """params.yaml as it is committed; free to change."""
    from wbc.config import read_yaml

    return read_yaml("params.yaml")


@pytest.fixture
def tiny_row(params):
    """Settings of a training that takes seconds."""
    from wbc.config import Row, resolve

    params["profile"] = "sample"
    values = resolve(params)["convnext_restarts"]
    values["model"]["name"] = "test_convnext"
    values["train"] |= {"epochs": 4, "patience": 4, "batch_size": 8}
    values["schedule"]["period"] = 2
    return Row(**values)


@pytest.fixture
def coloured():
    """40 images of 32×32 in two colours with their targets, 0 and 1: what a network learns at once."""
    import numpy as np
    import torch

    from wbc.train.data import Part, Pixels

    rng = np.random.default_rng(0)
    targets = np.arange(40) % 2
    colours = np.array([[200, 60, 60], [60, 60, 200]])[targets][:, None, None]
    images = (colours + rng.integers(-30, 30, (40, 32, 32, 3))).astype(np.uint8)
    pixels = Pixels(images, np.arange(40), torch.device("cpu"))
    return Part(np.arange(40).astype(str), pixels, torch.from_numpy(targets))


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The tiny study, reproduced once; a test leaves it as it was, or works in a clone."""
    from study import make

    path = tmp_path_factory.mktemp("study")
    make(path)
    return path
