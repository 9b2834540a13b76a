"""Outputs of other images than the manifest's: their reader stops, and names the stage that makes them anew."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stages import blend, embed, external, gridsearch, predict, robustness
from wbc.classical.table import read_parts
from wbc.config.files import STUDY
from wbc.core import tables
from wbc.core.errors import UserError
from wbc.core.io import write_csv
from wbc.core.tables import (
    FEATURES,
    INGEST,
    MASKS,
    PIXELS,
    RUNS,
    mark,
    read_external,
    read_features,
    read_manifest,
    read_masks,
    read_pixels,
    read_split,
    write_split,
)

AWAY, IDS = "elsewhere", [f"i{number:02d}" for number in range(24)]


def write_manifest(of, table):
    write_csv(INGEST / of / "manifest.csv", table.columns, table.itertuples(index=False))


def write_data():
    """What each stage leaves, of today's manifests: arrays and tables in which a value is its image's place."""
    for of in (STUDY, AWAY):
        ids, place = read_manifest(of)["id"], np.arange(len(read_manifest(of)))
        for folder in (PIXELS, MASKS, FEATURES):
            (folder / of).mkdir(parents=True, exist_ok=True)
            mark(folder / of, of)
        np.save(PIXELS / of / "images.npy", np.zeros((len(ids), 2, 2, 3), np.uint8) + place[:, None, None, None])
        np.savez(MASKS / of / "hsv.npz", **{id: np.full((2, 2), at) for id, at in zip(ids, place, strict=True)})
        pd.DataFrame({"area": place}, ids).to_parquet(FEATURES / of / "v1.parquet")
    for kind in ("folds", "validation"):
        write_split(kind, 0, read_manifest()["id"], pd.Series(np.arange(len(IDS)) % 3 - 1, name=kind))
    mark(INGEST / AWAY, STUDY)
    for name, sets in RUN.items():
        mark(RUNS / name, *sets)


RUN = {"mine-0/train": [STUDY], "mine-0/predict": [STUDY, AWAY], "v1-0/classical": [STUDY], "v2-0/gridsearch": [STUDY]}
RUN |= {"v1-0/external": [STUDY, AWAY]}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = {"id": IDS, "path": IDS, "sha256": [f"{n:x}" for n in range(24)], "label": ["SNE", "LY"] * 12}
    columns |= {"part": ["train"] * 16 + ["test"] * 8, "mask": "", "group": "", "copy_of": ""}
    for of in (STUDY, AWAY):
        write_manifest(of, pd.DataFrame(columns))
    write_data()


CHANGES = {
    "other images under the same ids": lambda t: t.assign(sha256=t["sha256"].to_numpy()[[1, 0, *range(2, 24)]]),
    "another order": lambda t: t.iloc[[1, 0, *range(2, 24)]],
    "another label": lambda t: t.assign(label=["LY", *t["label"][1:]]),
    "another part": lambda t: t.assign(part=["test", *t["part"][1:]]),
    "other ids": lambda t: t.assign(id=["zz", *t["id"][1:]]),
    "one more": lambda t: pd.concat([t, t.tail(1).assign(id="zz")]),
    "one less": lambda t: t.head(23),
}


def load(stage, *_):
    """Settings of any stage."""
    values = {"sets": [AWAY], "features": "v1", "classifier": "lda", "validation": 0.3, "seed": 0}
    return SimpleNamespace(**values, joblib_backend="loky", masks="lab")


READERS = {
    "pack@study": (lambda: read_pixels(STUDY), PIXELS / STUDY),
    "segment@study": (lambda: read_masks(STUDY, "hsv"), MASKS / STUDY),
    "features@study": (lambda: read_features(STUDY, "v1"), FEATURES / STUDY),
    f"ingest_external@{AWAY}": (lambda: read_external(AWAY), INGEST / AWAY),
    "train@mine-0": (lambda: predict.main("mine", "0"), RUNS / "mine-0/train"),
    "train@mine-0 ": (lambda: robustness.main("mine", "0"), RUNS / "mine-0/train"),
    "predict@mine-0": (lambda: embed.main("mine", "0"), RUNS / "mine-0/predict"),
    "predict@mine-0 ": (lambda: blend.main("mine", "0"), RUNS / "mine-0/predict"),
    "classical@v1-0": (lambda: external.main("v1", "0"), RUNS / "v1-0/classical"),
    "gridsearch@0": (lambda: external.main("v2", "0", "gridsearch", "gridsearch_external"), RUNS / "v2-0/gridsearch"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_reader_refuses_what_was_made_of_other_images_and_names_the_stage_to_run(project, monkeypatch, change):
    for stage in (blend, embed, external, gridsearch, predict, robustness):
        monkeypatch.setattr(stage, "load", load)
    monkeypatch.setattr(blend, "load_model", lambda path: None)
    write_manifest(STUDY, change(read_manifest()))
    for stage, (read, folder) in READERS.items():
        message = rf"^{folder}: made from other images or labels than data/ingest/ has; run: dvc repro {stage.strip()}$"
        with pytest.raises(UserError, match=message):
            read()


@pytest.mark.parametrize("stale", ["v1-0/classical", "v1-0/external"])
def test_a_blend_refuses_stale_predictions_of_its_classical_model(project, monkeypatch, stale):
    monkeypatch.setattr(blend, "load", load)
    monkeypatch.setattr(blend, "load_model", lambda path: None)
    (RUNS / stale / tables.MARK).write_text("0\n")
    stage = f"{stale.partition('/')[2]}@v1-0"
    with pytest.raises(UserError, match=f"^runs/{stale}: .* dvc repro {stage}$"):
        blend.main("mine", "0")


@pytest.mark.parametrize(
    ("stage", "read"),
    [
        (f"pack_external@{AWAY}", lambda: read_pixels(AWAY)),
        (f"segment_external@{AWAY}", lambda: read_masks(AWAY, "hsv")),
        (f"features_external@{AWAY}", lambda: read_features(AWAY, "v1")),
    ],
)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_so_does_each_of_an_external_set(project, stage, read, change):
    write_manifest(AWAY, change(read_manifest(AWAY)))
    with pytest.raises(UserError, match=rf"^data/\w+/{AWAY}: .*; run: dvc repro {stage}$"):
        read()
    read_pixels(STUDY)  # which rests on its own images alone


@pytest.mark.parametrize("change", [CHANGES[name] for name in ("another order", "other ids", "one more", "one less")])
def test_a_split_of_other_images_is_refused(project, change):
    write_manifest(STUDY, change(read_manifest()))
    for kind in ("folds", "validation"):
        with pytest.raises(UserError, match=rf"^data/split/0/{kind}\.csv: of other images .*; run: dvc repro split@0$"):
            read_split(kind, 0)


def test_what_was_made_anew_is_read_by_row_and_id(project):
    assert read_pixels(STUDY)[:, 0, 0, 0].tolist() == list(range(24))
    write_manifest(STUDY, read_manifest().iloc[::-1])
    write_data()
    assert read_pixels(STUDY)[:, 0, 0, 0].tolist() == list(range(24))
    assert read_features(STUDY, "v1")["area"].tolist() == list(range(24))
    with read_masks(STUDY, "hsv") as masks:
        assert masks["i23"].max() == 0
    assert dict(zip(read_manifest()["id"], read_split("folds", 0), strict=True))["i23"] == -1
    table, _ = read_parts("v1", 0)
    assert [IDS[23 - int(value)] for value in table.features[:, 0]] == table.ids.tolist()
    shuffled = pd.read_parquet(FEATURES / STUDY / "v1.parquet").iloc[::-1]
    shuffled.to_parquet(FEATURES / STUDY / "v1.parquet")
    assert read_features(STUDY, "v1").equals(shuffled.iloc[::-1])


def test_where_the_images_lie_makes_no_difference(project):
    write_manifest(STUDY, read_manifest().assign(path=[f"moved/{id}" for id in IDS], mask="somewhere"))
    assert read_pixels(STUDY).shape == (24, 2, 2, 3)


def test_outputs_without_a_mark_are_refused(project):
    shutil.move(PIXELS / STUDY / tables.MARK, Path("elsewhere"))
    with pytest.raises(UserError, match=r"dvc repro pack@study$"):
        read_pixels(STUDY)
