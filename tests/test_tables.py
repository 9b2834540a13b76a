"""Files of other images than the manifest's: whoever reads one stops, and names the stage that makes it anew."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import cells
from stages import blend, collect, configure, embed, external, features, folds, ingest, pack, segment, validation
from study import alone, write_params
from wbc.classical.table import training
from wbc.core.errors import UserError
from wbc.core.io import write_npz
from wbc.core.tables import PIXELS, fingerprint, read_features, read_manifest, read_npy
from wbc.dataset.ingest import HASHES
from wbc.network.pixels import load_part

CELL, OTHER = (Path(f"data/raw/train/LY/train-LY-{number}.png") for number in (0, 1))


def other_content():
    """Two images of one class change names."""
    CELL.rename("kept.png")
    OTHER.rename(CELL)
    Path("kept.png").rename(OTHER)


def other_ids():
    """As many images as before; all rows after the new one's are shifted."""
    CELL.rename(CELL.with_name("zzz.png"))


def other_label():
    CELL.rename("data/raw/train/SNE/train-LY-0.png")


def other_part():
    CELL.rename("data/raw/test/LY/train-LY-0.png")


@pytest.fixture
def project(packed, tmp_path, monkeypatch):
    """What the stages hand over, of 44 images and a set of two."""
    monkeypatch.chdir(shutil.copytree(packed, tmp_path / "project"))
    for label, first in (("SNE", 0), ("LY", 1)):
        cells([label], Path("away") / label, first)

    def elsewhere(params):
        alone(params)
        params["external"] = {"elsewhere": {"source": "folder", "path": "away"}}
        params["blend"]["features"] = "v1"

    write_params(Path.cwd(), elsewhere)
    for stage, *arguments in (
        (configure,),
        (ingest,),
        (folds, "0"),
        (pack,),
        (segment, "hsv"),
        (features, "v1", "hsv"),
    ):
        stage.main(*arguments)
    for name in ("embeddings/alone-0", "predictions/alone-0", "predictions/v1-0"):
        write_npz(f"data/{name}.npz", [("x", np.zeros(1))], fingerprint(read_manifest()))
    collect.main("elsewhere")
    monkeypatch.setattr(blend, "load_model", lambda path: None)
    monkeypatch.setattr(blend, "load_linear", lambda path: None)


@pytest.mark.parametrize("change", [other_content, other_ids, other_label, other_part])
def test_each_stage_refuses_what_was_made_of_other_images_and_names_the_stage_to_run(project, change):
    def stops(stage, main, *arguments):
        with pytest.raises(
            UserError, match=rf"^data/\S+ was made from other images or labels .*; run: dvc repro {stage}$"
        ):
            main(*arguments)

    def pixels():
        return load_part("train", 0, 0.34, torch.device("cpu"))

    hashes = HASHES.read_bytes()
    known = {id: pixels().pixels.packed[place] for place, id in enumerate(read_manifest()["id"])}
    measured = training("v1", 0)
    measured = dict(zip(measured.ids, measured.features, strict=True))
    change()
    ingest.main()
    stops("validation@0", pixels)
    validation.main("0")
    stops("pack", pixels)
    stops("folds@0", training, "v1", 0)
    folds.main("0")
    stops("features@v1", training, "v1", 0)
    stops("segment@hsv", features.main, "v1", "hsv")
    stops("predict@alone-0", embed.main, "alone", "0")
    stops("predict@alone-0", blend.main, "alone", "0")
    write_npz("data/predictions/alone-0.npz", [], fingerprint(read_manifest()))
    stops("classical@v1-0", blend.main, "alone", "0")
    stops("collect@elsewhere", external.main, "elsewhere", "0")
    now = HASHES.read_bytes()
    HASHES.write_bytes(hashes)
    stops("ingest", collect.main, "elsewhere")
    HASHES.write_bytes(now)

    for stage, *arguments in ((pack,), (segment, "hsv"), (features, "v1", "hsv"), (collect, "elsewhere")):
        stage.main(*arguments)
    external.main("elsewhere", "0")
    train, found = pixels(), training("v1", 0)
    rows = dict(zip(read_manifest()["id"], train.pixels.packed, strict=True))
    same = known.keys() - ({"train/LY/train-LY-0.png", "train/LY/train-LY-1.png"} if change is other_content else set())
    for id in same & rows.keys():
        assert np.array_equal(rows[id], known[id])
    for id, values in zip(found.ids, found.features, strict=True):
        assert id not in same & measured.keys() or np.array_equal(values, measured[id])


def test_where_the_images_lie_makes_no_difference(project):
    manifest = read_manifest()
    manifest["path"] = "elsewhere/" + manifest["path"]
    assert read_npy(PIXELS, manifest, "pack").shape == (44, 32, 32, 3)


def test_features_are_matched_by_id(project):
    manifest = read_manifest()
    table = pd.read_parquet("data/features/v1.parquet")
    table.iloc[::-1].to_parquet("data/features/v1.parquet")
    assert read_features("data/features/v1.parquet", manifest, "").equals(table)


def test_a_row_taken_out_of_a_split_shifts_none(project):
    lines = Path("data/folds/0.csv").read_text().splitlines(keepends=True)
    Path("data/folds/0.csv").write_text("".join(lines[:5] + lines[6:]))
    with pytest.raises(UserError, match=r"^data/folds/0\.csv was made from other images"):
        training("v1", 0)
