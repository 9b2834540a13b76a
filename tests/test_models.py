"""The one interface of every model, and the files of those with classical ones; a network's: test_model_file."""

import pickle
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
from wbc.classical import model as files
from wbc.classical.gridsearch import oversample, without_smote
from wbc.classical.model import Classical, fit_reference, load_classical, save_classical
from wbc.classical.models import classifiers, gradient_boosting
from wbc.config.schema import TTA
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.modelfile import WeightsError
from wbc.features import feature_set
from wbc.models.model import BLEND, Blend, ClassicalModel, Inputs, NetworkModel, load, save_blend
from wbc.network.model import NO_TTA, save_model
from wbc.network.pixels import Pixels
from wbc.scoring.calibration import scaled
from wbc.scoring.predictions import Predictions, write_predictions

NAMES = [*classifiers("hist", True, 1), "exact", "gridsearch"]
WIDTH = len(feature_set("v1").NAMES)


def fitted():
    """By name, a model of each kind, of 11 of the classes and features as many as v1 has."""
    rng = np.random.default_rng(0)
    target, fold = np.arange(110) % 11, np.arange(110) // 11 % 5
    features = rng.normal(size=(110, WIDTH)) + target[:, None]
    models = classifiers("hist", True, 1)
    boost = {name: gradient_boosting(name, 1) for name in ("exact", "hist")}
    models["exact"] = make_pipeline(StandardScaler(), boost["exact"].set_params(n_estimators=2))
    smote = FunctionSampler(func=oversample, kw_args={"neighbors": 3, "seed": 1})
    steps = [("scale", StandardScaler()), ("smote", smote), ("boost", boost["hist"].set_params(max_iter=2))]
    models["gridsearch"] = Pipeline(steps)
    found = {name: model.fit(features, target) for name, model in models.items()}
    expected = found["gridsearch"].predict_proba(features)
    found["gridsearch"] = without_smote(found["gridsearch"])
    assert np.array_equal(found["gridsearch"].predict_proba(features), expected)
    return {
        name: Classical("v1", "hsv", each, 0.5, fit_reference(features, target, fold)) for name, each in found.items()
    }


def write(folder):
    models = fitted()
    for name, model in models.items():
        save_classical(Path(folder) / f"{name}.skops", model)
    return models


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Each in a file of this process, and of another one."""
    here, there = (tmp_path_factory.mktemp(name) for name in ("here", "there"))
    script = "import sys; sys.path.insert(0, sys.argv[1]); import conftest, test_models; test_models.write(sys.argv[2])"
    subprocess.run([sys.executable, "-c", script, Path(__file__).parent, there], check=True)
    return write(here), here, there


@pytest.mark.parametrize("name", NAMES)
def test_every_classical_model_comes_back_to_the_last_bit_and_in_the_same_bytes(kept, name, tmp_path):
    models, here, there = kept
    file = here / f"{name}.skops"
    assert file.read_bytes() == (there / f"{name}.skops").read_bytes()
    save_classical(tmp_path / "again.skops", load_classical(file))
    assert (tmp_path / "again.skops").read_bytes() == file.read_bytes()
    found, features = load(file), 11 * np.random.default_rng(1).random((50, WIDTH))
    inputs = Inputs(None, features)
    assert np.array_equal(found.probabilities(inputs), models[name].probabilities(features))
    assert np.array_equal(found.novelty(inputs), models[name].novelty(features))
    assert (found.classical[:2], found.classical.temperature) == (("v1", "hsv"), 0.5)
    assert (found.input_spec, found.network, found.unseen) == ((None, ("v1", "hsv")), None, {11, 12})
    assert not found.probabilities(inputs)[:, 11:].any()


class Harmful:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)

    def __setstate__(self, state):
        Path(state["path"]).touch()


def test_nothing_is_unpickled(classical, tmp_path):
    harmful, content = Harmful(tmp_path / "harm"), classical._asdict() | {"classes": list(CLASSES)}
    (tmp_path / "a.skops").write_bytes(pickle.dumps(harmful))
    content |= {"pipeline": harmful, "reference": classical.reference._asdict()}
    (tmp_path / "b.skops").write_bytes(skops.io.dumps(content))
    with pytest.raises(WeightsError, match=r"a\.skops: not a model of this project"):
        load(tmp_path / "a.skops")
    with pytest.raises(WeightsError, match=r"b\.skops: not a classical model \(Untrusted types found .*Harmful"):
        load(tmp_path / "b.skops")
    assert not (tmp_path / "harm").exists()


def damaged(path):
    content = path.read_bytes()
    middle = len(content) // 3
    path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.md", "x")


def numbers(path):
    path.write_bytes(skops.io.dumps({"weights": np.ones(3)}))


@pytest.mark.parametrize("spoil", [damaged, cut, foreign, numbers, Path.unlink])
def test_a_file_that_is_no_classical_model_is_one_line(classical, tmp_path, spoil):
    save_classical(tmp_path / "m.skops", classical)
    spoil(tmp_path / "m.skops")
    for read in (load, load_classical):
        with pytest.raises(WeightsError, match=r"^\S*m\.skops: (not a|no such file)") as error:
            read(tmp_path / "m.skops")
        assert "\n" not in str(error.value)


def test_a_model_of_other_classes_is_refused(classical, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CLASSES", ("A", "B"))
    save_classical(tmp_path / "m.skops", classical)
    monkeypatch.undo()
    with pytest.raises(WeightsError, match=r"m\.skops: trained for other classes: A, B$"):
        load(tmp_path / "m.skops")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"features": "v9"}, "v9 on polar"), ({"masks": "disc"}, "v3 on disc"), ({"features": "v2"}, "v2 on polar")],
    ids=["set", "masks", "count"],
)
def test_features_that_nothing_here_measures_are_said(classical, tmp_path, change, words):
    save_classical(tmp_path / "m.skops", classical._replace(**change))
    with pytest.raises(WeightsError, match=f"m.skops: takes 120 features of the set {words} masks, which this version"):
        load(tmp_path / "m.skops")


# --- blends


@pytest.fixture
def blend(trained, classical, tmp_path):
    """The file of a network's 0.7 and a classical model's 0.3."""
    save_model(tmp_path / "m.safetensors", trained)
    save_classical(tmp_path / "m.skops", classical)
    save_blend(tmp_path / "blend.zip", [(0.7, tmp_path / "m.safetensors"), (0.3, tmp_path / "m.skops")])
    return tmp_path / "blend.zip"


@pytest.mark.parametrize("tta", [NO_TTA, TTA(passes=2, temperature=0.8)], ids=["plain", "tta"])
def test_a_blend_is_the_weighted_mean_of_calibrated_probabilities(blend, trained, classical, measured, coloured, tta):
    inputs = Inputs(Pixels(coloured.pixels.packed, np.arange(5), torch.device("cpu")), measured)
    network = scaled(trained.probabilities(inputs.pixels, tta).numpy(), 0.4)
    found = load(blend)
    expected = 0.7 * network + 0.3 * classical.probabilities(measured)
    np.testing.assert_allclose(found.probabilities(inputs, tta), expected, rtol=1e-6)
    assert np.array_equal(
        found.novelty(inputs), np.maximum(trained.novelty(inputs.pixels), classical.novelty(measured))
    )
    assert (found.input_spec, found.unseen) == (((32, 1.0), ("v3", "polar")), {12})
    assert torch.equal(found.network.model.head[-1].bias, trained.model.head[-1].bias)
    silent = Blend(((0.7, NetworkModel(trained._replace(reference=None))), (0.3, ClassicalModel(classical))))
    assert np.array_equal(silent.novelty(inputs), classical.novelty(measured))


def test_a_blends_file_is_the_same_bytes_again(blend):
    save_blend(blend.with_name("b.zip"), [(0.7, blend.with_name("m.safetensors")), (0.3, blend.with_name("m.skops"))])
    assert blend.with_name("b.zip").read_bytes() == blend.read_bytes()


def rewritten(path, change):
    """The zip file with some entries' content replaced, or taken out where it is None."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()} | change
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            if content is not None:
                archive.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"1.skops": None}, "not a blend of models"),
        ({"1.skops": b"x"}, "1.skops: not a model of this project"),
        ({"0.safetensors": b"x"}, "0.safetensors: not a model of this project"),
        ({BLEND: b"{"}, "not a blend of models"),
        ({BLEND: b"[1]"}, "not a blend of models"),
    ],
)
def test_a_blend_that_cannot_be_read_is_one_line(blend, change, message):
    rewritten(blend, change)
    with pytest.raises(WeightsError, match=rf"^\S*blend\.zip: {message}"):
        load(blend)


def test_a_damaged_blend_is_one_line(blend):
    damaged(blend)
    with pytest.raises(WeightsError, match=r"^\S*blend\.zip: "):
        load(blend)


@pytest.mark.parametrize("name", ["nowhere.zip", "folder"])
def test_what_is_no_file_is_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=rf"{name}: (no such file|not a model)"):
        load(tmp_path / name)


def test_networks_know_nothing_of_classical_models():
    command = """
import importlib, pkgutil, sys, wbc.network
for module in pkgutil.iter_modules(wbc.network.__path__, "wbc.network."):
    importlib.import_module(module.name)
sys.exit(any(name.startswith(("wbc.classical", "wbc.models")) for name in sys.modules))
"""
    subprocess.run([sys.executable, "-c", command], check=True)


# --- doubtful labels


def test_label_check_takes_the_best_classifier_of_a_folder(tmp_path, monkeypatch, capsys):
    def write(name, *predicted, target=(0, 1, 2), part="validation"):
        found = Predictions(np.array(list("abc")), np.array(target), np.eye(13)[[*predicted]])
        write_predictions(f"runs/v3-0/classical/{name}.npz", {part: found})

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^error: runs/v3-0/classical: No such file"):
        main(["label-check"])
    Path("runs/v3-0/classical").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"^error: runs/v3-0/classical: no classifier's predictions; dvc repro"):
        main(["label-check"])
    write("knn", 5, 5, 5)
    write("lda", 0, 1, 5)
    write("svm", 0, 5, 5)
    main(["label-check"])
    header = "id,label,probability,suggested,suggested_probability,by\n"
    assert capsys.readouterr().out == f"{header}c,{CLASSES[2]},0.0,{CLASSES[5]},1.0,lda\n"
    main(["label-check", "runs/v3-0/classical/svm.npz"])
    assert [line[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["b", "c"]
    write("broken", 0, 1, 2, part="test")
    with pytest.raises(SystemExit, match=r"^error: runs/v3-0/classical/broken\.npz: not a classifier's predictions"):
        main(["label-check"])
