"""The stage that scores a row on corrupted images, and what the report makes of it."""

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

TRAINED = Path("runs/alone-0/train")


@pytest.fixture
def project(packed, tmp_path, monkeypatch):
    """A folder with the row `alone`, untrained."""
    monkeypatch.chdir(shutil.copytree(packed, tmp_path / "project"))
    settings = Training(**vars(load("train/alone")))
    model, normalisation = build(settings.model)
    trained = Network(model.eval(), settings.model_dump(exclude_none=True), normalisation, 32, None)
    save_model("runs/alone-0/train/model.safetensors", trained)
    mark(TRAINED, "study")
    of_stage = SimpleNamespace(compute=settings.compute, seed=205)
    monkeypatch.setattr(robustness, "load", lambda *names: of_stage)


@pytest.fixture
def study(params):
    settings = {key: value for key, value in resolve(params)["report"].items() if key != "compute"}
    return lambda robust, repeats=(0,): Study(**settings | {"robust": robust, "repeats": repeats}).robustness


def test_every_corruption_is_drawn_on_the_test_part_at_each_severity_with_the_studys_seed(project, study, monkeypatch):
    seen = []
    test = np.load(PIXELS / "study/images.npy")[(read_manifest()["part"] == "test").to_numpy()]

    def drawn_on(images, *drawn):
        assert np.array_equal(images, test)
        seen.append(drawn)
        return images

    monkeypatch.setattr(robustness, "corrupt", drawn_on)
    scores = iter([0.9, *(0.7 - 0.1 * (name == "motion") - 0.01 * s for name, s in product(CORRUPTIONS, (1, 3, 5)))])
    monkeypatch.setattr(robustness, "macro_f1", lambda target, found: next(scores))
    robustness.main("alone", "0")
    assert seen == [(*drawn, 205) for drawn in product(CORRUPTIONS, (1, 3, 5))]
    metrics = json.loads(Path("runs/alone-0/robustness.json").read_text())
    assert metrics == {"clean": 0.9, "mean": pytest.approx(0.67 - 0.1 / len(CORRUPTIONS)), "worst": 0.57}
    table = study(["alone"])
    assert len(table) == 4 * len(CORRUPTIONS)
    assert set(table.loc[table["severity"] == 0, "f1"]) == {0.9}
    assert table.set_index(["corruption", "severity"]).loc[("motion", 5), "f1"].item() == pytest.approx(0.55)


def test_an_unlabelled_test_part_has_no_such_scores_and_repeats_a_mean(project, study):
    path = INGEST / "study/manifest.csv"
    manifest = pd.read_csv(path, dtype=str, keep_default_na=False)
    manifest.loc[manifest["part"] == "test", "label"] = ""
    manifest.to_csv(path, index=False)
    mark(TRAINED, "study")
    split.main("0")
    pack.main("study")
    robustness.main("alone", "0")
    assert json.loads(Path("runs/alone-0/robustness.json").read_text()) == {}
    assert study(["alone"]).empty
    assert study([]).empty
    for repeat, f1 in enumerate((0.2, 0.4)):
        path = Path(f"runs/alone-{repeat}/robustness/scores.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"corruption,severity,f1\njpeg,1,{f1}\n")
    assert study(["alone"], (0, 1)).to_numpy().tolist() == [["alone", "jpeg", 1, pytest.approx(0.3)]]
