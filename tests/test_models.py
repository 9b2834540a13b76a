"""The interface of all models, and the files of classical models and blends."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
import torch
from imblearn import FunctionSampler
from imblearn.pipeline import Pipeline
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wbc.__main__ import main
from wbc.classical.gridsearch import oversample, without_smote
from wbc.classical.model import TRUSTED, Classical, fit_reference, load_classical, save_classical
from wbc.classical.models import classifiers, gradient_boosting
from wbc.config.schema import TTA
from wbc.core.classes import CLASSES
from wbc.core.errors import WeightsError
from wbc.features import feature_set
from wbc.models.model import BLEND, Inputs, Model, load, save_blend
from wbc.network.model import NO_TTA, save_model
from wbc.network.pixels import Pixels
from wbc.scoring.calibration import apply_temperature
from wbc.scoring.predictions import Predictions, write_predictions

NAMES = [*classifiers("hist", True, 1), "exact", "gridsearch"]
WIDTH = len(feature_set("v1").NAMES)


def write(folder):
    """Fit a classical model of each kind to 11 of the classes, and save them."""
    target, fold = np.arange(110) % 11, np.arange(110) // 11 % 5
    features = np.random.default_rng(0).normal(size=(110, WIDTH)) + target[:, None]
    exact, hist = gradient_boosting("exact", 1), gradient_boosting("hist", 1)
    smote = FunctionSampler(func=oversample, kw_args={"neighbors": 3, "seed": 1})
    steps = [("scale", StandardScaler()), ("smote", smote), ("boost", hist.set_params(max_iter=2))]
    pipelines = classifiers("hist", True, 1) | {"gridsearch": Pipeline(steps)}
    pipelines["exact"] = make_pipeline(StandardScaler(), exact.set_params(n_estimators=2))
    reference, models = fit_reference(features, target, fold), {}
    for name, pipeline in pipelines.items():
        pipeline.fit(features, target)
        expected = pipeline.predict_proba(features)
        served = without_smote(pipeline) if name == "gridsearch" else pipeline
        assert np.array_equal(served.predict_proba(features), expected)
        models[name] = Classical("v1", "hsv", served, 0.5, reference)
        save_classical(Path(folder) / f"{name}.skops", models[name])
    return models


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The models, and the folders with their files from this process and from another one."""
    here, there = (tmp_path_factory.mktemp(name) for name in ("here", "there"))
    script = "import sys; sys.path.insert(0, sys.argv[1]); import conftest, test_models; test_models.write(sys.argv[2])"
    subprocess.run([sys.executable, "-c", script, Path(__file__).parent, there], check=True)
    return write(here), here, there


@pytest.mark.parametrize("name", NAMES)
def test_a_classical_model_comes_back_to_the_last_bit_and_in_the_same_bytes(kept, name, tmp_path):
    models, here, there = kept
    content, model = (here / f"{name}.skops").read_bytes(), load(here / f"{name}.skops")
    save_classical(tmp_path / "again.skops", model.classical)
    assert content == (there / f"{name}.skops").read_bytes() == (tmp_path / "again.skops").read_bytes()
    features = 11 * np.random.default_rng(1).random((50, WIDTH))
    probabilities = model.probabilities(Inputs(None, features))
    assert np.array_equal(probabilities, models[name].probabilities(features))
    assert not probabilities[:, 11:].any()
    assert np.array_equal(model.novelty(Inputs(None, features)), models[name].novelty(features))
    assert (model.input_spec, model.network, model.unseen) == ((None, ("v1", "hsv")), None, {11, 12})


class Harmful:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __setstate__(self, state):
        Path(state["path"]).touch()


def test_nothing_is_unpickled(classical, tmp_path):
    content = classical._asdict() | {"classes": list(CLASSES), "reference": classical.reference._asdict()}
    (tmp_path / "m.skops").write_bytes(skops.io.dumps(content | {"pipeline": Harmful(tmp_path / "harm")}))
    with pytest.raises(WeightsError, match=r"m\.skops: not a classical model \(Untrusted types found .*Harmful"):
        load(tmp_path / "m.skops")
    assert not (tmp_path / "harm").exists()


@pytest.fixture
def blend(trained, classical, tmp_path):
    """The file of a blend: 0.7 of a network and 0.3 of a classical model."""
    save_model(tmp_path / "m.safetensors", trained)
    save_classical(tmp_path / "m.skops", classical)
    save_blend(tmp_path / "blend.zip", tmp_path / "m.safetensors", tmp_path / "m.skops", (0.7, 0.3))
    return tmp_path / "blend.zip"


@pytest.mark.parametrize("tta", [NO_TTA, TTA(passes=2, temperature=0.8)], ids=["plain", "tta"])
def test_a_blend_is_the_weighted_mean_of_calibrated_probabilities(blend, trained, classical, measured, coloured, tta):
    inputs = Inputs(Pixels(coloured.pixels.packed, np.arange(5), torch.device("cpu")), measured)
    network, model = apply_temperature(trained.probabilities(inputs.pixels, tta).numpy(), 0.4), load(blend)
    expected = 0.7 * network + 0.3 * classical.probabilities(measured)
    np.testing.assert_allclose(model.probabilities(inputs, tta), expected, rtol=1e-6)
    novelty = np.maximum(trained.novelty(inputs.pixels), classical.novelty(measured))
    assert np.array_equal(model.novelty(inputs), novelty)
    assert (model.input_spec, model.unseen) == (((32, 1.0), ("v3", "polar")), {12})
    silent = Model(trained._replace(reference=None), classical, (0.7, 0.3))
    assert np.array_equal(silent.novelty(inputs), classical.novelty(measured))
    assert silent._replace(classical=None).novelty(inputs) is None
    assert np.array_equal(Model(trained).probabilities(inputs, tta), network)
    assert (Model(trained).input_spec, Model(trained).unseen) == (((32, 1.0), None), set())
    again = blend.with_name("again.zip")
    save_blend(again, blend.with_name("m.safetensors"), blend.with_name("m.skops"), (0.7, 0.3))
    assert again.read_bytes() == blend.read_bytes()


def rewrite(**entries):
    """Return a function that replaces entries of a zip file, or removes those that are None."""

    def change(path):
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()} | entries
        with zipfile.ZipFile(path, "w") as archive:
            for name in (name for name, value in content.items() if value is not None):
                archive.writestr(name, content[name])

    return change


def damage(path):
    content = path.read_bytes()
    middle = len(content) // 3
    path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])


def rename_classes(path):
    path.write_bytes(skops.io.dumps(skops.io.load(path, trusted=TRUSTED) | {"classes": ["A", "B"]}))


def resave(**fields):
    return lambda path: save_classical(path, load_classical(path)._replace(**fields))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("m.skops", damage, "not a classical model"),
        ("m.skops", lambda path: path.write_bytes(path.read_bytes()[:-100]), "not a model of this project"),
        ("m.skops", lambda path: path.write_bytes(skops.io.dumps({"weights": np.ones(3)})), "not a classical model"),
        ("m.skops", lambda path: (path.unlink(), path.mkdir()), "not a model of this project"),
        ("m.skops", Path.unlink, "no such file"),
        ("m.skops", rename_classes, "trained for other classes: A, B$"),
        ("m.skops", resave(features="v9"), "takes 120 features of the set v9 on polar masks, which this version"),
        ("m.skops", resave(masks="disc"), "takes 120 features of the set v3 on disc masks, which this version"),
        ("m.skops", resave(features="v2"), "takes 120 features of the set v2 on polar masks, which this version"),
        ("blend.zip", rewrite(**{"1.skops": None}), "not a blend of models"),
        ("blend.zip", rewrite(**{"1.skops": b"x"}), "1.skops: not a classical model"),
        ("blend.zip", rewrite(**{"0.safetensors": b"x"}), "0.safetensors: not a model of this project"),
        ("blend.zip", rewrite(**{BLEND: b"{"}), "not a blend of models"),
        ("blend.zip", rewrite(**{BLEND: b"[1]"}), "not a blend of models"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(blend, name, change, message):
    change(blend.with_name(name))
    with pytest.raises(WeightsError, match=rf"^\S*{name}: {message}") as error:
        load(blend.with_name(name))
    assert "\n" not in str(error.value)


def test_label_check_takes_the_best_classifier_of_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/v3-0/classical")
    for fault in ("No such file", "no classifier's predictions; dvc repro"):
        with pytest.raises(SystemExit, match=f"^error: {folder}: {fault}"):
            main(["label-check"])
        folder.mkdir(parents=True, exist_ok=True)
    for name, predicted in {"knn": [5, 5, 5], "lda": [0, 1, 5], "svm": [0, 5, 5]}.items():
        found = Predictions(np.array(list("abc")), np.arange(3), np.eye(13)[predicted])
        write_predictions(folder / f"{name}.npz", {"validation": found})
    main(["label-check"])
    columns, line = capsys.readouterr().out.splitlines()
    assert (columns[:9], line) == ("id,label,", f"c,{CLASSES[2]},0.0,{CLASSES[5]},1.0,lda")
    main(["label-check", f"{folder}/svm.npz"])
    assert [line[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["b", "c"]
    write_predictions(folder / "broken.npz", {"test": found})
    with pytest.raises(SystemExit, match=rf"^error: {folder}/broken\.npz: not a classifier's predictions"):
        main(["label-check"])
