"""Linear classifiers as tables of weights: they say what the pipeline says, and come back from their file."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from wbc.classical.linear import linear, load_linear, reference, save_linear
from wbc.classical.models import classifiers, probabilities
from wbc.core.classes import CLASSES
from wbc.core.modelfile import WeightsError, read_header
from wbc.scoring.calibration import scaled


def cells(classes, count=300):
    """Features of sizes as different as areas and moments are, one of them constant, and overlapping classes."""
    rng = np.random.default_rng(0)
    target = np.array(classes)[np.arange(count) % len(classes)]
    noise = rng.normal(size=(count, 6)) + 0.8 * rng.normal(size=(13, 6))[target]
    return noise * [1, 1e4, 1e-6, 50, 1e-3, 0] + [0, 3e4, 1e-5, -200, 1, 7], target


def fitted(classifier, classes):
    return make_pipeline(StandardScaler(), classifier).fit(*cells(classes))


@pytest.fixture
def model():
    around = reference(*cells([0, 3, 7]), np.arange(300) % 5)
    return linear(fitted(classifiers("hist", True, 0)["lda"], [0, 3, 7]), "v1", "hsv", 1.7, around)


@pytest.mark.parametrize("temperature", [0.4, 2.5])
@pytest.mark.parametrize("classes", [[7, 2], [0, 3, 7], range(13)], ids=len)
@pytest.mark.parametrize("name", ["logistic_regression", "lda"])
def test_it_says_what_the_calibrated_pipeline_says(name, classes, temperature):
    pipeline, (features, _) = fitted(classifiers("hist", True, 0)[name], classes), cells(classes)
    found = linear(pipeline, "v1", "hsv", temperature).probabilities(features)
    expected = scaled(probabilities(pipeline, features), temperature)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert expected.max(1).std() > 0.05
    assert (found.any(0) == np.isin(range(13), classes)).all()  # 0, not next to it, of a class never shown


def test_classes_never_shown_stay_impossible_at_any_temperature(model):
    found = model._replace(temperature=20.0).probabilities(cells([0, 3, 7])[0])
    assert np.flatnonzero(found.any(0)).tolist() == [0, 3, 7]
    np.testing.assert_allclose(found.sum(1), 1)


@pytest.mark.parametrize("other", [SVC(kernel="linear"), SGDClassifier("log_loss"), RandomForestClassifier(5)])
def test_what_is_no_softmax_of_linear_functions_has_no_table(other):
    assert linear(fitted(other, [0, 3, 7]), "v1", "hsv", 1.0) is None


def test_a_saved_one_comes_back_the_same_and_in_the_same_bytes(model, tmp_path):
    for name, order in (("a", "C"), ("b", "F")):  # however the numbers lie in memory
        save_linear(tmp_path / name, model._replace(weights=np.asarray(model.weights, order=order)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = load_linear(tmp_path / "a")
    assert (loaded.features, loaded.masks, loaded.temperature) == ("v1", "hsv", 1.7)
    assert loaded.reference.threshold == model.reference.threshold
    assert np.array_equal(loaded.reference.distance(cells([1])[0]), model.reference.distance(cells([1])[0]))
    features, _ = cells([0, 3, 7])
    assert np.array_equal(loaded.probabilities(features), model.probabilities(features))
    assert read_header(tmp_path / "a")["classes"] == list(CLASSES)


def test_one_in_a_hundred_of_the_other_folds_is_unusual_and_so_is_a_cell_unlike_them_in_any_feature():
    """In units as different as these a covariance shrunk towards a sphere would see but the largest feature."""
    features, target = cells([0, 3, 7], 3000)
    known = reference(features, target, np.arange(3000) % 5)
    assert (known.distance(features) > known.threshold).mean() == pytest.approx(0.01, abs=0.004)
    few = reference(features[:60], target[:60], np.arange(60) % 5)  # which overfit: their own distances are too short
    assert (few.distance(features[60:]) > few.threshold).mean() < 0.1
    for feature, sd in enumerate(features.std(0)[:5]):
        moved = features.copy()
        moved[:, feature] += 8 * sd
        assert (known.distance(moved) > known.threshold).mean() > 0.9, feature
    shuffled = np.random.default_rng(0).permutation(target)  # around the wrong means nothing is near
    assert known.threshold < reference(features, shuffled, np.arange(3000) % 5).threshold


def test_a_file_from_before_it_knew_where_the_cells_lie_is_read(model, tmp_path):
    save_linear(tmp_path / "old", model._replace(reference=None))
    loaded = load_linear(tmp_path / "old")
    assert loaded.reference is None
    assert np.array_equal(loaded.weights, model.weights)


def test_what_is_no_linear_model_is_said_in_a_line(model, tmp_path):
    path = tmp_path / "m"
    save_linear(path, model)
    tensors, header = load_file(path), read_header(path)
    for change, message in (
        ({"linear": {"features": "v1"}}, "this version cannot read it: 'masks'"),
        ({"format": 99}, "of a later version of this project: format 99"),
        ({"classes": ["A"]}, "trained for other classes: A"),
    ):
        save_file(tensors, path, metadata={"wbc": json.dumps(header | change)})
        with pytest.raises(WeightsError, match=f"{path}: {message}"):
            load_linear(path)
    del header["linear"]
    save_file(tensors, path, metadata={"wbc": json.dumps(header)})
    with pytest.raises(WeightsError, match=f"{path}: a network, not a linear model"):
        load_linear(path)
    save_file({"linear.bias": model.bias}, path, metadata={"wbc": json.dumps({**header, "linear": {}})})
    with pytest.raises(WeightsError, match=f"{path}: this version cannot read it: 'linear.weights'"):
        load_linear(path)


def test_neither_the_stage_nor_a_process_that_reads_waits_for_pytorch():
    code = "import sys, wbc.classical.linear, wbc.models.inputs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
