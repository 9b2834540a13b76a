"""Images of another laboratory: how they are collected, what each row scores on them, what the report makes of it."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from conftest import cells
from stages import collect as collecting
from stages import configure
from stages import external as scoring
from study import alone, set_knob, write_params
from wbc.classes import CLASSES
from wbc.classical.linear import Linear, save_linear
from wbc.config import ConfigError, complete, load_row, resolve
from wbc.data.images import decode
from wbc.data.ingest import collect, ingest
from wbc.data.sources import SourceError
from wbc.data.synthetic import AWAY, draw, write_dataset, write_external
from wbc.data.tables import read_manifest, write_features
from wbc.evaluate.calibration import scaled
from wbc.evaluate.external import scored, told_apart
from wbc.evaluate.unusual import Reference
from wbc.features import feature_set
from wbc.network.model import Trained, build, save_model
from wbc.network.pixels import load_part
from wbc.network.reference import reference
from wbc.report import external as reported
from wbc.use.classify import classify
from wbc.use.model import load

CPU = torch.device("cpu")
SNE, LY, MO = (CLASSES.index(name) for name in ("SNE", "LY", "MO"))


def certain(*predicted):
    return np.eye(len(CLASSES))[list(predicted)]


def test_images_of_other_classes_do_not_count_and_naming_such_a_class_is_wrong():
    target = np.array([SNE, SNE, LY, LY, MO, -1])
    found = scored(target, certain(SNE, MO, LY, LY, SNE, SNE), np.array([SNE, LY]))
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx((2 / 3 + 1) / 2)  # the monocyte taken for SNE does not count against SNE
    assert scored(target, certain(*target), np.array([CLASSES.index("BA")])) == {}


def test_calibration_elsewhere_is_that_of_the_same_images():
    said = 0.8 * certain(SNE, SNE, SNE) + 0.2 * certain(LY, LY, LY)
    found = scored(np.array([SNE, LY, MO]), said, np.array([SNE, LY]))
    assert (found["ece"], found["nll"]) == (pytest.approx(0.5), pytest.approx(-np.log(0.8 * 0.2) / 2))


def test_shares_beyond_the_threshold_and_how_well_the_distance_tells_them_apart():
    found = told_apart(np.array([0.3, 0.6, 0.9, 1.2]), np.array([1.1, 1.5]))
    assert found == {"unusual_at_home": 0.25, "unusual": 1.0, "auroc": 0.875}


def test_another_laboratory_draws_other_cells_and_shows_them_otherwise(tmp_path):
    write_dataset(tmp_path / "home", 0, 26, 1, 1, 48, 7)
    write_external(tmp_path / "away", 26, 1, 48, 7)
    listed = [pd.read_csv(tmp_path / where / "labels.csv", dtype=str) for where in ("home", "away")]
    assert set(listed[1]["part"]) == {"test"}
    images = [
        np.stack([cv2.imread(str(path)) for path in sorted((tmp_path / where / "images").iterdir())])
        for where in ("home", "away")
    ]
    corner = [np.median(of[:, :6, :6].reshape(-1, 3), axis=0) for of in images]
    assert corner[1][0] - corner[0][0] > 15  # a bluer light
    plain = draw("SNE", 48, np.random.default_rng([7, 0, 1]))
    shown = draw("SNE", 48, np.random.default_rng([7, 0, 1]), AWAY)
    assert (shown[1] > 0).sum() / (plain[1] > 0).sum() == pytest.approx(AWAY.zoom**2, rel=0.1)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A study's images, ingested, and others, which have one of those, one saved again, and one without a label."""
    monkeypatch.chdir(tmp_path)
    cells(["SNE", "LY"] * 4, Path("home/images"))
    labels = pd.DataFrame({"ID": [f"{i:08d}" for i in range(8)], "labels": ["SNE", "LY"] * 4})
    labels.to_csv("home/labels.csv", index=False)
    cells(["SNE", "LY", "MO", "LY"], Path("away/images"), first=100)
    again = decode(Path("home/images/00000001.jpg").read_bytes())
    cv2.imwrite("away/images/again.jpg", again[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    shutil.copy("home/images/00000002.jpg", "away/images/same.jpg")
    names = [*(f"{100 + i:08d}" for i in range(4)), "again", "same"]
    listed = pd.DataFrame({"ID": names, "labels": ["SNE", "LY", "MO", "", "LY", "MO"]})
    listed.to_csv("away/labels.csv", index=False)
    return ingest("folder", Path("home"), 0.25, 0)


def test_what_the_study_has_already_is_not_tested_on(folders):
    found = collect("folder", Path("away"), folders.manifest, folders.hashes)
    assert found.manifest["label"].tolist() == ["SNE", "LY", "MO"]
    assert set(found.manifest["part"]) == {"test"}
    assert found.rejects.to_numpy().tolist() == [
        ["again", "copy of an image at home", "00000001"],
        ["same", "copy of an image at home", "00000002"],
    ]
    assert len(found.hashes) == 3
    with pytest.raises(
        SourceError, match="away: 'again': copy of an image at home: 00000001; correct it or take it out"
    ):
        collect("folder", Path("away"), folders.manifest, folders.hashes, strict=True)


def test_a_set_of_nothing_but_copies_stops(folders):
    with pytest.raises(
        SourceError, match="home: no usable labelled image among 8 images; first reason: '00000000': copy"
    ):
        collect("folder", Path("home"), folders.manifest, folders.hashes)


@pytest.fixture
def project(packed, folders, tmp_path, monkeypatch):
    """A folder with the row `alone`, untrained, and a set of elsewhere."""
    path = shutil.copytree(packed, tmp_path / "project")
    shutil.copytree("away", path / "away")
    monkeypatch.chdir(path)

    def elsewhere(params):
        alone(params)
        params["external"] = {"elsewhere": {"source": "folder", "path": "away"}}

    write_params(path, elsewhere)
    configure.main()
    row = load_row("alone", 0)
    torch.manual_seed(0)
    model, normalisation = build(row.model)
    settings = row.model_dump(exclude_none=True)
    trained = Trained(model.eval(), settings, normalisation, 32, None, temperature=0.5)
    known = reference(
        model.backbone, normalisation, *(load_part(name, 0, 0.34, CPU) for name in ("train", "validation"))
    )
    save_model("models/alone-0.safetensors", trained._replace(reference=known))
    manifest = read_manifest()
    write_features("data/features/v1.parquet", manifest, feature_set("v1").NAMES, np.zeros((len(manifest), 9)))
    around = Reference(np.zeros((1, 9)), np.eye(9), 1.0)
    partner = Linear("v1", "hsv", np.zeros((13, 9)), np.eye(13)[LY] * 5, 1.0, around)  # whatever it sees is an LY
    save_linear(Path("models/classical/v1-0/lda.safetensors"), partner)
    return path


def test_every_trained_row_is_scored_there_and_at_home(project):
    collecting.main("elsewhere")
    scoring.main("elsewhere", "0")
    metrics = json.loads(Path("metrics/external/elsewhere-0.json").read_text())
    assert set(metrics) == {"alone", "v1-lda"}
    assert metrics["v1-lda"]["home_accuracy"] == 0.5
    assert metrics["v1-lda"]["accuracy"] == pytest.approx(2 / 3, abs=1e-6)  # the two monocytes are of no class at home
    assert metrics["v1-lda"]["f1"] == pytest.approx(0.8 / 2)
    assert [metrics["v1-lda"][name] for name in ("unusual_at_home", "unusual", "auroc")] == [0.0, 1.0, 1.0]
    test, alone = load_part("test", 0, 0.34, CPU), load("models/alone-0.safetensors")
    own = scored(test.targets.numpy(), scaled(alone.outputs(test.pixels)[1].numpy(), 0.5), np.array([SNE, LY]))
    assert metrics["alone"]["home_nll"] == pytest.approx(own["nll"], abs=1e-6)
    assert {"f1_tta", "unusual", "unusual_at_home", "auroc"} <= set(metrics["alone"])
    assert "f1_tta" not in metrics["v1-lda"]
    with np.load("data/predictions/external/elsewhere-0.npz") as stored:
        assert stored["targets"].tolist() == [SNE, LY, MO, LY, MO]
        assert stored["common"].tolist() == [SNE, LY]
        names = (*(f"{100 + i:08d}" for i in range(3)), "again", "same")
        files = [Path(f"away/images/{name}.jpg") for name in names]
        alone = list(classify(load("models/alone-0.safetensors"), files, CPU))
        for said, served in zip(stored["alone"], alone, strict=True):
            assert (CLASSES[said.argmax()], said.max()) == (served.label, pytest.approx(served.probability, abs=1e-5))
    assert metrics["alone"]["unusual"] == np.mean(["unlike" in served.note for served in alone])


def test_in_the_report_a_set_has_intervals_and_repeats_are_means(project):
    collecting.main("elsewhere")
    scoring.main("elsewhere", "0")
    for suffix in ("json", "npz"):
        folder = Path("metrics/external" if suffix == "json" else "data/predictions/external")
        shutil.copy(folder / f"elsewhere-0.{suffix}", folder / f"elsewhere-1.{suffix}")
    metrics = json.loads(Path("metrics/external/elsewhere-1.json").read_text())
    metrics["v1-lda"]["f1"] += 0.2
    Path("metrics/external/elsewhere-1.json").write_text(json.dumps(metrics))
    table = reported.external(SimpleNamespace(external=["elsewhere"], repeats=[0, 1]))
    assert list(table.columns) == list(reported.COLUMNS)
    line = table.set_index("row").loc["v1-lda"]
    assert (line["images"], line["classes"]) == (3, 2)
    assert line["f1"] == pytest.approx(0.4 + 0.1)
    assert line["accuracy_low"] == line["accuracy_high"] == pytest.approx(2 / 3)  # drawn within each class
    assert np.isnan(line["f1_tta"])
    assert reported.external(SimpleNamespace(external=[], repeats=[0])).empty


def test_drawn_cells_are_left_out_where_the_images_are_real(project, params):
    params["data"]["source"] = {"report": "folder"}
    settings = resolve(params)
    assert not settings["external"]["sets"]["laboratory"]["used"]
    assert settings["report"]["external"] == []
    text = yaml.safe_load(Path("configs/external.yaml").read_text())
    text["sets"]["elsewhere"]["used"] = False
    Path("configs/external.yaml").write_text(yaml.safe_dump(text))
    collecting.main("elsewhere")
    scoring.main("elsewhere", "0")
    assert not list(Path("data/external/elsewhere").iterdir())
    assert json.loads(Path("metrics/external/elsewhere-0.json").read_text()) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("+external.Lmu={source: folder, path: x}", "external.Lmu"),
        ("+external.lmu={source: foldr, path: x}", "external.lmu.source = 'foldr'"),
        ("+external.lmu={source: folder}", "external.lmu.path is missing"),
        ("+external.lmu={source: folder, path: nowhere}", "external.lmu.path = 'nowhere': no such folder"),
    ],
)
def test_a_set_that_cannot_be_is_refused(params, change, message):
    set_knob(params, change)
    with pytest.raises(ConfigError, match=message):
        complete(resolve(params), {row["model"]["name"] for row in resolve(params).values() if "model" in row})
