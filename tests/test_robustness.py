"""The stage that scores a row on corrupted images, and the report's table of it."""

import json
import shutil
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stages import pack, robustness, split
from wbc.config.files import load
from wbc.config.resolve import resolve
from wbc.config.schema import Training
from wbc.core.tables import INGEST, PIXELS, mark, read_manifest
from wbc.network.model import Network, build, save_model
from wbc.report.study import Study
from wbc.robustness import CORRUPTIONS

FOLDER = Path("runs/alone-0")


@pytest.fixture
def project(packed, tmp_path, monkeypatch):
    """A folder with the row `alone`, untrained."""
    monkeypatch.chdir(shutil.copytree(packed, tmp_path / "project"))
    settings = Training(**vars(load("train/alone")))
    model, normalisation = build(settings.model)
    trained = Network(model.eval(), settings.model_dump(exclude_none=True), normalisation, 32, None)
    save_model(FOLDER / "train/model.safetensors", trained)
    mark(FOLDER / "train", "study")
    monkeypatch.setattr(robustness, "load", lambda _: SimpleNamespace(seed=205))


@pytest.fixture
def table(params):
    settings = {key: value for key, value in resolve(params)["report"].items() if key != "compute"}
    return lambda rows, repeats=(0,): Study(**settings | {"robust": rows, "repeats": repeats}).robustness


def test_the_test_part_is_scored_with_every_corruption_at_each_severity(project, table, monkeypatch):
    test, seen = np.load(PIXELS / "study/images.npy")[(read_manifest()["part"] == "test").to_numpy()], []

    def corrupt(images, *arguments):
        assert np.array_equal(images, test)
        seen.append(arguments)
        return images

    monkeypatch.setattr(robustness, "corrupt", corrupt)
    scores = iter([0.9, *(0.7 - 0.1 * (name == "motion") - 0.01 * s for name, s in product(CORRUPTIONS, (1, 3, 5)))])
    monkeypatch.setattr(robustness, "macro_f1", lambda target, found: next(scores))
    robustness.main("alone", "0")
    assert seen == [(*both, 205) for both in product(CORRUPTIONS, (1, 3, 5))]
    metrics = json.loads((FOLDER / "robustness.json").read_text())
    assert metrics == {"clean": 0.9, "mean": pytest.approx(0.67 - 0.1 / len(CORRUPTIONS)), "worst": 0.57}
    found = table(["alone"]).set_index(["corruption", "severity"])["f1"]
    assert (len(found), found["jpeg", 0], found["motion", 5]) == (4 * len(CORRUPTIONS), 0.9, pytest.approx(0.55))


def test_an_unlabelled_test_part_has_no_scores_and_the_table_averages_repeats(project, table):
    manifest = read_manifest()
    manifest.loc[manifest["part"] == "test", "label"] = ""
    manifest.to_csv(INGEST / "study/manifest.csv", index=False)
    mark(FOLDER / "train", "study")
    split.main("0")
    pack.main("study")
    robustness.main("alone", "0")
    assert json.loads((FOLDER / "robustness.json").read_text()) == {}
    assert table(["alone"]).empty
    assert table([]).empty
    for repeat, f1 in enumerate((0.2, 0.4)):
        path = Path(f"runs/alone-{repeat}/robustness/scores.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"corruption": ["jpeg"], "severity": 1, "f1": f1}).to_csv(path, index=False)
    assert table(["alone"], (0, 1)).to_numpy().tolist() == [["alone", "jpeg", 1, pytest.approx(0.3)]]
