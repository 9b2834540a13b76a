"""External sets: ingestion, predictions of every model, scores."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conftest import cells
from stages import configure, features, ingest, pack, predict, segment
from stages import external as classical
from study import alone, set_knob, write_params, write_settings
from wbc.classical.model import Classical, save_classical
from wbc.cli.classify import classify
from wbc.config.files import ConfigError, load
from wbc.config.resolve import resolve
from wbc.config.schema import Training
from wbc.core.classes import CLASSES
from wbc.core.io import write_csv
from wbc.core.tables import RUNS, mark, read_manifest
from wbc.dataset.images import decode
from wbc.dataset.ingest import ingest as ingest_study
from wbc.dataset.ingest import ingest_external
from wbc.models.model import load as load_model
from wbc.network.model import Network, build, save_model
from wbc.network.pixels import load_part
from wbc.network.reference import fit_reference
from wbc.report.external import COLUMNS, common_classes, common_scores, external_scores, novelty_scores
from wbc.report.study import Study
from wbc.scoring.calibration import apply_temperature
from wbc.scoring.novelty import Reference
from wbc.scoring.predictions import Predictions, read_predictions, write_predictions
from wbc.sources import SourceError
from wbc.synthetic import EXTERNAL, draw

CPU = torch.device("cpu")
SNE, LY, MO = (CLASSES.index(name) for name in ("SNE", "LY", "MO"))


def certain(*predicted):
    return np.eye(len(CLASSES))[list(predicted)]


def test_only_images_of_the_common_classes_count():
    target = np.array([SNE, SNE, LY, LY, MO, -1])
    found = common_scores(target, certain(SNE, MO, LY, LY, SNE, SNE), np.array([SNE, LY]))
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx((2 / 3 + 1) / 2)  # the monocyte predicted as SNE does not count
    assert common_scores(target, certain(*target), np.array([CLASSES.index("BA")])) == {}
    probabilities = 0.8 * certain(SNE, SNE, SNE) + 0.2 * certain(LY, LY, LY)
    assert common_scores(target[[0, 2, 4]], probabilities, np.array([SNE, LY]))["ece"] == pytest.approx(0.5)


def test_novelty_scores_by_hand():
    found = novelty_scores(np.array([0.3, 0.6, 0.9, 1.2]), np.array([1.1, 1.5]))
    assert found == {"test_novel": 0.25, "novel": 1.0, "auroc": 0.875}


def test_the_synthetic_laboratory_has_other_light_and_magnification():
    drawn = [[draw("SNE", 48, np.random.default_rng(seed), *lab) for seed in range(26)] for lab in ((), (EXTERNAL,))]
    corners = [np.median([image[:6, :6, 2] for image, _ in cells]) for cells in drawn]
    assert corners[1] - corners[0] > 15  # a bluer light
    areas = [(cells[0][1] > 0).sum() for cells in drawn]
    assert areas[1] / areas[0] == pytest.approx(EXTERNAL.zoom**2, rel=0.1)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Ingested images of a study, and an external set with two copies of them and an image without a label."""
    monkeypatch.chdir(tmp_path)
    cells(["SNE", "LY"] * 4, Path("own/images"))
    cells(["SNE", "LY", "MO", "LY"], Path("other/images"), first=100)
    again = decode(Path("own/images/00000001.jpg").read_bytes())
    cv2.imwrite("other/images/again.jpg", again[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    shutil.copy("own/images/00000002.jpg", "other/images/same.jpg")
    names = [*(f"{100 + i:08d}" for i in range(4)), "again", "same"]
    labels = ["SNE", "LY", "MO", "", "LY", "MO"]
    write_csv("own/labels.csv", ["ID", "labels"], [(f"{i:08d}", ["SNE", "LY"][i % 2]) for i in range(8)])
    write_csv("other/labels.csv", ["ID", "labels"], zip(names, labels, strict=True))
    return ingest_study("folder", Path("own"), 0.25, 0)


def test_copies_of_the_studys_images_are_rejected(folders):
    found = ingest_external("folder", Path("other"), folders.manifest, folders.hashes)
    assert found.manifest["label"].tolist() == ["SNE", "LY", "MO"]
    assert set(found.manifest["part"]) == {"test"}
    assert found.rejects.to_numpy().tolist() == [
        ["again", "copy of an image of the study", "00000001"],
        ["same", "copy of an image of the study", "00000002"],
    ]
    assert len(found.hashes) == 3
    for folder, strict, message in (
        ("other", True, "other: 'again': copy of an image of the study: 00000001; correct it or take it out"),
        ("own", False, "own: no usable labelled image among 8 images; first reason: '00000000': copy"),
    ):
        with pytest.raises(SourceError, match=message):
            ingest_external("folder", Path(folder), folders.manifest, folders.hashes, strict=strict)


@pytest.fixture
def study(packed, folders, tmp_path, monkeypatch, params):
    """A study of the row `alone`, untrained, and a constant classifier, with the predictions of an external set."""
    path = shutil.copytree(packed, tmp_path / "project")
    shutil.copytree("other", path / "other")
    monkeypatch.chdir(path)

    def with_external(params):
        alone(params)
        params["external"] = {"other": {"source": "folder", "path": "other"}}

    write_params(path, with_external)
    configure.main()
    settings = Training(**vars(load("train/alone")))
    torch.manual_seed(0)
    model, normalisation = build(settings.model)
    parts = (load_part(name, 0, 0.34, CPU) for name in ("train", "validation"))
    known = fit_reference(model.backbone, normalisation, *parts)
    trained = Network(model.eval(), settings.model_dump(exclude_none=True), normalisation, 32, known, temperature=0.5)
    save_model("runs/alone-0/train/model.safetensors", trained)
    mark(RUNS / "alone-0/train", "study")
    for stage in (ingest, pack, segment, features):
        stage.main("other")
    predict.main("alone", "0")

    around = Reference(np.zeros((1, 9)), np.eye(9), 1.0)
    constant = DummyClassifier(strategy="constant", constant=LY)
    pipeline = make_pipeline(StandardScaler(), constant).fit(np.zeros((13, 9)), np.arange(13))
    save_classical("runs/v1-0/classical/lda.skops", Classical("v1", "hsv", pipeline, 1.0, around))
    test = load_part("test", 0, 0.34, CPU)
    own = Predictions(test.ids.astype(str), test.targets.numpy(), certain(*[LY] * 4), novelty=np.zeros(4))
    write_predictions("runs/v1-0/classical/lda.npz", {"test": own})
    mark(RUNS / "v1-0/classical", "study")
    classical.main("v1", "0")
    of_report = {key: value for key, value in vars(load("report")).items() if key != "compute"}
    return lambda **changes: Study(**of_report | {"features": {"v1": "hsv"}} | changes)


def test_every_model_is_scored_on_the_set_and_on_its_test_part(study):
    assert read_predictions("runs/alone-0/predict/predictions.npz", "other").target.tolist() == [SNE, LY, MO, LY, MO]
    assert common_classes(study(), "other").tolist() == [SNE, LY]
    table = external_scores(study())
    assert list(table.columns) == list(COLUMNS)
    table = table.set_index("row")
    assert list(table.index) == ["alone", "v1-lda"]
    line = table.loc["v1-lda"]
    assert (line["images"], line["classes"], line["test_accuracy"]) == (3, 2, 0.5)
    assert line["accuracy"] == pytest.approx(2 / 3)  # the two monocytes are of no common class
    assert line["f1"] == pytest.approx(0.8 / 2)
    assert [line[name] for name in ("test_novel", "novel", "auroc")] == [0.0, 1.0, 1.0]
    assert line["accuracy_low"] == line["accuracy_high"] == pytest.approx(2 / 3)  # drawn within each class
    assert np.isnan(line["f1_tta"])
    assert table.loc["alone", ["f1_tta", "test_ece", "novel", "test_novel", "auroc"]].notna().all()


def test_classify_agrees_with_the_predictions(study):
    scored = read_predictions("runs/alone-0/predict/predictions.npz", "other")
    files = [Path(path) for path in read_manifest("other")["path"]]
    served = list(classify(load_model("runs/alone-0/train/model.safetensors"), files, CPU))
    found = apply_temperature(scored.probabilities, 0.5)
    assert [it.label for it in served] == [CLASSES[each] for each in found.argmax(1)]
    assert [it.probability for it in served] == pytest.approx(found.max(1), abs=1e-5)
    assert (scored.novelty > 1).tolist() == ["unlike" in it.note for it in served]


def test_repeats_are_averaged(study):
    found = read_predictions("runs/v1-0/external/lda.npz", "other")
    shutil.copytree("runs/alone-0", "runs/alone-1")
    shutil.copytree("runs/v1-0/classical", "runs/v1-1/classical")
    right = found._replace(probabilities=certain(*found.target))
    write_predictions("runs/v1-1/external/lda.npz", {"other": right})
    table = external_scores(study(repeats=[0, 1])).set_index("row")
    assert table.loc["v1-lda", "f1"] == pytest.approx((0.4 + 1) / 2)
    assert external_scores(study(external=[])).empty


def test_a_set_that_is_left_out_is_empty(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params["data"]["source"] = {"report": "folder"}  # real images: the synthetic laboratory is left out
    write_settings(params, "ingest", "pack")
    write_csv("data/ingest/study/manifest.csv", ["id", "label", "path", "mask"], [("a", "SNE", "", "")])
    for stage in (ingest, pack):
        stage.main("laboratory")
    assert read_manifest("laboratory").empty
    assert len(np.load("data/pixels/laboratory/images.npy")) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("Lmu={source: folder, path: x}", "external.Lmu"),
        ("lmu={source: foldr, path: x}", "external.lmu.source = 'foldr'"),
        ("lmu={source: folder}", "external.lmu.path is missing"),
    ],
)
def test_a_wrong_external_set_is_refused(params, change, message):
    set_knob(params, f"+external.{change}")
    with pytest.raises(ConfigError, match=message):
        resolve(params)
