"""Images of another laboratory: how they are collected, what each model scores on them, what the report makes of it."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conftest import cells
from stages import configure, features, ingest, pack, predict, segment
from stages import external as classical
from study import alone, set_knob, write_params
from wbc.classical.model import Classical, save_classical
from wbc.cli.classify import classify
from wbc.config.files import ConfigError, load
from wbc.config.resolve import complete, resolve
from wbc.config.schema import Training
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.core.tables import RUNS, mark, read_manifest
from wbc.dataset.images import decode
from wbc.dataset.ingest import ingest as ingested
from wbc.dataset.ingest import ingest_external
from wbc.models.model import load as load_model
from wbc.network.model import Network, build, save_model
from wbc.network.pixels import load_part
from wbc.network.reference import fit_reference
from wbc.report import external as reported
from wbc.report.external import external, novelty_scores, scored
from wbc.report.study import Study
from wbc.scoring.calibration import scaled
from wbc.scoring.novelty import Reference
from wbc.scoring.predictions import Predictions, read_predictions, write_predictions
from wbc.sources import SourceError
from wbc.synthetic import EXTERNAL, class_counts, draw, write_dataset

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
    probabilities = 0.8 * certain(SNE, SNE, SNE) + 0.2 * certain(LY, LY, LY)
    found = scored(np.array([SNE, LY, MO]), probabilities, np.array([SNE, LY]))
    assert (found["ece"], found["nll"]) == (pytest.approx(0.5), pytest.approx(-np.log(0.8 * 0.2) / 2))


def test_shares_beyond_the_threshold_and_how_well_the_distance_tells_them_apart():
    found = novelty_scores(np.array([0.3, 0.6, 0.9, 1.2]), np.array([1.1, 1.5]))
    assert found == {"unusual_at_home": 0.25, "unusual": 1.0, "auroc": 0.875}


def test_another_laboratory_draws_other_cells_and_shows_them_otherwise(tmp_path):
    write_dataset(tmp_path / "home", {"test": class_counts(26, 1)}, 48, 7)
    write_dataset(tmp_path / "away", {"test": class_counts(26, 1)}, 48, 7, EXTERNAL)
    listed = [pd.read_csv(tmp_path / where / "labels.csv", dtype=str) for where in ("home", "away")]
    assert set(listed[1]["part"]) == {"test"}
    images = [
        np.stack([cv2.imread(str(path)) for path in sorted((tmp_path / where / "images").iterdir())])
        for where in ("home", "away")
    ]
    corner = [np.median(of[:, :6, :6].reshape(-1, 3), axis=0) for of in images]
    assert corner[1][0] - corner[0][0] > 15  # a bluer light
    plain = draw("SNE", 48, np.random.default_rng([7, 0, 1]))
    shown = draw("SNE", 48, np.random.default_rng([7, 0, 1]), EXTERNAL)
    assert (shown[1] > 0).sum() / (plain[1] > 0).sum() == pytest.approx(EXTERNAL.zoom**2, rel=0.1)


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
    return ingested("folder", Path("home"), 0.25, 0)


def test_what_the_study_has_already_is_not_tested_on(folders):
    found = ingest_external("folder", Path("away"), folders.manifest, folders.hashes)
    assert found.manifest["label"].tolist() == ["SNE", "LY", "MO"]
    assert set(found.manifest["part"]) == {"test"}
    assert found.rejects.to_numpy().tolist() == [
        ["again", "copy of an image of the study", "00000001"],
        ["same", "copy of an image of the study", "00000002"],
    ]
    assert len(found.hashes) == 3
    for folder, strict, message in (
        ("away", True, "away: 'again': copy of an image of the study: 00000001; correct it or take it out"),
        ("home", False, "home: no usable labelled image among 8 images; first reason: '00000000': copy"),
    ):
        with pytest.raises(SourceError, match=message):
            ingest_external("folder", Path(folder), folders.manifest, folders.hashes, strict=strict)


@pytest.fixture
def study(packed, folders, tmp_path, monkeypatch, params):
    """A study of the row `alone`, untrained, and a linear model, with a set of elsewhere, all predicted."""
    path = shutil.copytree(packed, tmp_path / "project")
    shutil.copytree("away", path / "away")
    monkeypatch.chdir(path)

    def elsewhere(params):
        alone(params)
        params["external"] = {"elsewhere": {"source": "folder", "path": "away"}}

    write_params(path, elsewhere)
    configure.main()
    settings = Training(**vars(load("train", "alone")))
    torch.manual_seed(0)
    model, normalisation = build(settings.model)
    parts = (load_part(name, 0, 0.34, CPU) for name in ("train", "validation"))
    known = fit_reference(model.backbone, normalisation, *parts)
    trained = Network(model.eval(), settings.model_dump(exclude_none=True), normalisation, 32, known, temperature=0.5)
    save_model("runs/alone-0/train/model.safetensors", trained)
    mark(RUNS / "alone-0/train", "study")
    for stage in (ingest, pack, segment, features):
        stage.main("elsewhere")
    predict.main("alone", "0")

    around = Reference(np.zeros((1, 9)), np.eye(9), 1.0)
    constant = DummyClassifier(strategy="constant", constant=LY)  # whatever it sees is an LY
    pipeline = make_pipeline(StandardScaler(), constant).fit(np.zeros((13, 9)), np.arange(13))
    save_classical("runs/v1-0/classical/lda.skops", Classical("v1", "hsv", pipeline, 1.0, around))
    test = load_part("test", 0, 0.34, CPU)
    home = Predictions(test.ids.astype(str), test.targets.numpy(), certain(*[LY] * 4), novelty=np.zeros(4))
    write_predictions("runs/v1-0/classical/lda.npz", {"test": home})
    mark(RUNS / "v1-0/classical", "study")
    classical.main("v1", "0")
    of_report = {key: value for key, value in vars(load("report")).items() if key != "compute"} | {
        "features": {"v1": "hsv"}
    }
    return lambda **changes: Study(**of_report | changes)


def test_every_model_is_scored_there_and_at_home(study):
    there = read_predictions("runs/alone-0/predict/predictions.npz", "elsewhere")
    assert there.target.tolist() == [SNE, LY, MO, LY, MO]
    assert reported.common_classes(study(), "elsewhere").tolist() == [SNE, LY]
    table = external(study())
    assert list(table.columns) == list(reported.COLUMNS)
    table = table.set_index("row")
    assert list(table.index) == ["alone", "v1-lda"]
    line = table.loc["v1-lda"]
    assert (line["images"], line["classes"], line["home_accuracy"]) == (3, 2, 0.5)
    assert line["accuracy"] == pytest.approx(2 / 3)  # the two monocytes are of no class at home
    assert line["f1"] == pytest.approx(0.8 / 2)
    assert [line[name] for name in ("unusual_at_home", "unusual", "auroc")] == [0.0, 1.0, 1.0]
    assert line["accuracy_low"] == line["accuracy_high"] == pytest.approx(2 / 3)  # drawn within each class
    assert np.isnan(line["f1_tta"])
    assert table.loc["alone", ["f1_tta", "home_ece", "unusual", "unusual_at_home", "auroc"]].notna().all()


def test_a_served_model_says_of_a_file_there_what_was_scored(study):
    there = read_predictions("runs/alone-0/predict/predictions.npz", "elsewhere")
    files = [Path(path) for path in read_manifest("elsewhere")["path"]]
    served = list(classify(load_model("runs/alone-0/train/model.safetensors"), files, CPU))
    found = scaled(there.probabilities, 0.5)
    assert [it.label for it in served] == [CLASSES[each] for each in found.argmax(1)]
    assert [it.probability for it in served] == pytest.approx(found.max(1), abs=1e-5)
    assert (there.novelty > 1).tolist() == ["unlike" in it.note for it in served]


def test_repeats_are_means(study):
    found = read_predictions("runs/v1-0/external/lda.npz", "elsewhere")
    shutil.copytree("runs/alone-0", "runs/alone-1")
    shutil.copytree("runs/v1-0/classical", "runs/v1-1/classical")
    right = found._replace(probabilities=certain(*found.target))
    write_predictions("runs/v1-1/external/lda.npz", {"elsewhere": right})
    table = external(study(repeats=[0, 1])).set_index("row")
    assert table.loc["v1-lda", "f1"] == pytest.approx((0.4 + 1) / 2)
    assert external(study(external=[])).empty


def test_drawn_cells_are_left_out_where_the_images_are_real(params, tmp_path, monkeypatch):
    params["data"]["source"] = {"report": "folder"}
    settings = resolve(params)
    assert settings["ingest/laboratory"] == {"left_out": True}
    assert settings["report"]["external"] == settings["external"]["sets"] == settings["predict/final"]["sets"] == []
    monkeypatch.chdir(tmp_path)
    write_csv("data/ingest/study/manifest.csv", ["id", "label", "path", "mask"], [("a", "SNE", "", "")])
    for name in ("ingest/laboratory", "pack", "machine"):
        Path(f"settings/{name}.yaml").parent.mkdir(exist_ok=True, parents=True)
        Path(f"settings/{name}.yaml").write_text(json.dumps(settings[name]))
    for stage in (ingest, pack):
        stage.main("laboratory")
    assert read_manifest("laboratory").empty
    assert len(np.load("data/pixels/laboratory/images.npy")) == 0


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
    networks = resolve(params)["report"]["networks"].values()
    set_knob(params, change)
    with pytest.raises(ConfigError, match=message):
        complete(resolve(params), networks)
