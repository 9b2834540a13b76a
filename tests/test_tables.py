"""Outputs of other images than the manifest's: their reader stops, and names the stage that makes them anew."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stages import blend, embed, external, predict, robustness
from wbc.classical.table import read_parts
from wbc.config.files import STUDY
from wbc.core import tables
from wbc.core.errors import UserError
from wbc.core.io import write_csv
from wbc.core.tables import FEATURES, INGEST, MARK, MASKS, PIXELS, RUNS, mark, read_manifest, read_split, write_split

OTHER, IDS = "elsewhere", [f"i{number:02d}" for number in range(24)]
RUN = {"mine-0/train": [STUDY], "mine-0/predict": [STUDY, OTHER], "v1-0/classical": [STUDY], "v2-0/gridsearch": [STUDY]}
RUN |= {"v1-0/external": [STUDY, OTHER]}


def write_manifest(image_set, table):
    write_csv(INGEST / image_set / "manifest.csv", table.columns, table.itertuples(index=False))


def write_data():
    """What each stage leaves, of today's manifests: arrays and tables in which a value is its image's place."""
    for image_set in (STUDY, OTHER):
        ids, place = read_manifest(image_set)["id"], np.arange(len(read_manifest(image_set)))
        for folder in (PIXELS, MASKS, FEATURES):
            mark(folder / image_set, image_set)
        np.save(PIXELS / image_set / "images.npy", np.zeros((len(ids), 2, 2, 3), np.uint8) + place[:, None, None, None])
        np.savez(MASKS / image_set / "hsv.npz", **{id: np.full((2, 2), at) for id, at in zip(ids, place, strict=True)})
        pd.DataFrame({"area": place}, ids).to_parquet(FEATURES / image_set / "v1.parquet")
    for kind in ("folds", "validation"):
        write_split(kind, 0, read_manifest()["id"], pd.Series(np.arange(len(IDS)) % 3 - 1, name=kind))
    mark(INGEST / OTHER, STUDY)
    for name, sets in RUN.items():
        mark(RUNS / name, *sets)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = {"id": IDS, "path": IDS, "sha256": [f"{n:x}" for n in range(24)], "label": ["SNE", "LY"] * 12}
    columns |= {"part": ["train"] * 16 + ["test"] * 8, "mask": "", "group": "", "copy_of": ""}
    for image_set in (STUDY, OTHER):
        write_manifest(image_set, pd.DataFrame(columns))
    write_data()
    settings = SimpleNamespace(row="mine", sets=[OTHER], features="v1", seed=0)
    for stage in (blend, embed, external, predict, robustness):
        monkeypatch.setattr(stage, "load", lambda *_: settings)
    monkeypatch.setattr(blend, "load_model", lambda path: None)


CHANGES = {
    "other images under the same ids": lambda t: t.assign(sha256=t["sha256"].to_numpy()[[1, 0, *range(2, 24)]]),
    "another order": lambda t: t.iloc[[1, 0, *range(2, 24)]],
    "another label": lambda t: t.assign(label=["LY", *t["label"][1:]]),
    "other ids": lambda t: t.assign(id=["zz", *t["id"][1:]]),
    "one more": lambda t: pd.concat([t, t.tail(1).assign(id="zz")]),
}
READERS = {
    "pack@study": (lambda: tables.read_pixels(STUDY), PIXELS / STUDY),
    "segment@study": (lambda: tables.read_masks(STUDY, "hsv"), MASKS / STUDY),
    "features@study": (lambda: tables.read_features(STUDY, "v1"), FEATURES / STUDY),
    f"ingest_external@{OTHER}": (lambda: tables.read_external(OTHER), INGEST / OTHER),
    "train@mine-0": (lambda: predict.main("mine", "0"), RUNS / "mine-0/train"),
    "train@mine-0 ": (lambda: robustness.main("mine", "0"), RUNS / "mine-0/train"),
    "predict@mine-0": (lambda: embed.main("mine", "0"), RUNS / "mine-0/predict"),
    "predict@mine-0 ": (lambda: blend.main("0"), RUNS / "mine-0/predict"),
    "classical@v1-0": (lambda: external.main("v1", "0"), RUNS / "v1-0/classical"),
    "gridsearch@0": (lambda: external.main("v2", "0", "gridsearch", "gridsearch_external"), RUNS / "v2-0/gridsearch"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_reader_refuses_what_was_made_of_other_images_and_names_the_stage_to_run(project, change):
    write_manifest(STUDY, change(read_manifest()))
    for stage, (read, folder) in READERS.items():
        message = rf"^{folder}: made from other images or labels than data/ingest/ has; run: dvc repro {stage.strip()}$"
        with pytest.raises(UserError, match=message):
            read()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_so_does_each_of_an_external_set(project, change):
    write_manifest(OTHER, change(read_manifest(OTHER)))
    readers = {"pack": tables.read_pixels, "segment": tables.read_masks, "features": tables.read_features}
    for stage, read in readers.items():
        with pytest.raises(UserError, match=rf"^data/\w+/{OTHER}: .*; run: dvc repro {stage}_external@{OTHER}$"):
            read(OTHER) if stage == "pack" else read(OTHER, "v1")
    tables.read_pixels(STUDY)  # it has images of its own


@pytest.mark.parametrize("stale", ["v1-0/classical", "v1-0/external"])
def test_a_blend_refuses_stale_predictions_of_its_classical_model(project, stale):
    (RUNS / stale / MARK).write_text("0\n")
    with pytest.raises(UserError, match=f"^runs/{stale}: .* dvc repro {stale.partition('/')[2]}@v1-0$"):
        blend.main("0")


@pytest.mark.parametrize("change", [CHANGES[name] for name in ("another order", "other ids", "one more")])
def test_a_split_of_other_images_is_refused(project, change):
    write_manifest(STUDY, change(read_manifest()))
    for kind in ("folds", "validation"):
        with pytest.raises(UserError, match=rf"^data/split/0/{kind}\.csv: of other images .*; run: dvc repro split@0$"):
            read_split(kind, 0)


def test_what_was_made_anew_is_read_by_row_and_id(project):
    write_manifest(STUDY, read_manifest().iloc[::-1])
    write_data()
    assert tables.read_pixels(STUDY)[:, 0, 0, 0].tolist() == list(range(24))
    assert tables.read_features(STUDY, "v1")["area"].tolist() == list(range(24))
    with tables.read_masks(STUDY, "hsv") as masks:
        assert masks["i23"].max() == 0
    assert dict(zip(read_manifest()["id"], read_split("folds", 0), strict=True))["i23"] == -1
    table, _ = read_parts("v1", 0)
    assert [IDS[23 - int(value)] for value in table.features[:, 0]] == table.ids.tolist()
    shuffled = pd.read_parquet(FEATURES / STUDY / "v1.parquet").iloc[::-1]
    shuffled.to_parquet(FEATURES / STUDY / "v1.parquet")
    assert tables.read_features(STUDY, "v1").equals(shuffled.iloc[::-1])


def test_where_the_images_lie_makes_no_difference_but_a_missing_mark_does(project):
    write_manifest(STUDY, read_manifest().assign(path=[f"moved/{id}" for id in IDS], mask="somewhere"))
    assert tables.read_pixels(STUDY).shape == (24, 2, 2, 3)
    (PIXELS / STUDY / MARK).unlink()
    with pytest.raises(UserError, match=r"dvc repro pack@study$"):
        tables.read_pixels(STUDY)
