"""The stage that scores a row on corrupted images, and what the report makes of it."""

import json
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest

from stages import pack, robustness, validation
from wbc.config import load_row
from wbc.core.tables import PIXELS, read_manifest
from wbc.network.model import Trained, build, save_model
from wbc.report import study
from wbc.robustness import BLOOD


@pytest.fixture
def project(packed, tmp_path, monkeypatch):
    """A folder with the row `alone`, untrained."""
    monkeypatch.chdir(shutil.copytree(packed, tmp_path / "project"))
    row = load_row("alone", 0)
    model, normalisation = build(row.model)
    settings = row.model_dump(exclude_none=True)
    save_model("models/alone-0.safetensors", Trained(model.eval(), settings, normalisation, 32, None))


def test_every_corruption_is_drawn_on_the_test_part_at_each_severity_with_the_studys_seed(project, monkeypatch):
    seen, test = [], np.load(PIXELS)[(read_manifest()["part"] == "test").to_numpy()]

    def drawn_on(images, *drawn):
        assert np.array_equal(images, test)
        seen.append(drawn)
        return images

    monkeypatch.setattr(robustness, "corrupt", drawn_on)
    scores = iter([0.9, *(0.7 - 0.1 * (name == "motion") - 0.01 * s for name, s in product(BLOOD, (1, 3, 5)))])
    monkeypatch.setattr(robustness, "macro_f1", lambda target, found: next(scores))
    robustness.main("alone", "0")
    assert seen == [(*drawn, 205) for drawn in product(BLOOD, (1, 3, 5))]
    metrics = json.loads((study.METRICS / "robustness/alone-0.json").read_text())
    assert metrics == {"clean": 0.9, "mean": pytest.approx(0.67 - 0.1 / len(BLOOD)), "worst": 0.57, "which": "motion"}
    table = study._robustness(["alone"], [0])
    assert len(table) == 4 * len(BLOOD)
    assert set(table.loc[table["severity"] == 0, "f1"]) == {0.9}
    assert table.set_index(["corruption", "severity"]).loc[("motion", 5), "f1"] == pytest.approx(0.55)


def test_an_unlabelled_test_part_has_no_such_scores_and_repeats_a_mean(project):
    manifest = pd.read_csv("data/manifest.csv", dtype=str, keep_default_na=False)
    manifest.loc[manifest["part"] == "test", "label"] = ""
    manifest.to_csv("data/manifest.csv", index=False)
    validation.main("0")
    pack.main()
    robustness.main("alone", "0")
    assert json.loads((study.METRICS / "robustness/alone-0.json").read_text()) == {}
    assert study._robustness(["alone"], [0]).empty
    assert study._robustness([], [0]).empty
    for repeat, f1 in enumerate((0.2, 0.4)):
        pd.DataFrame({"corruption": ["jpeg"], "severity": [1], "f1": [f1]}).to_csv(
            f"plots/robustness/alone-{repeat}.csv", index=False
        )
    assert study._robustness(["alone"], [0, 1]).to_numpy().tolist() == [["alone", "jpeg", 1, pytest.approx(0.3)]]
