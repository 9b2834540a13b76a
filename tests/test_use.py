"""A trained model in a person's hands: classify, explain, export."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torchvision.ops import Permute
from wbc.classical.linear import Linear, save_linear

from conftest import cells
from wbc import parallel
from wbc.__main__ import main
from wbc.config.resolve import resolve
from wbc.config.schema import TTA, Augment
from wbc.core.errors import UserError
from wbc.core.io import write_csv, write_json
from wbc.dataset.images import SUFFIXES, decode
from wbc.dataset.pack import middle, resize
from wbc.features import feature_set
from wbc.network.inference import infer
from wbc.network.model import PLAIN, Trained, build, load_model, save_model
from wbc.network.pixels import Pixels
from wbc.network.prepare import Prepare
from wbc.network.reference import reference
from wbc.scoring.calibration import scaled
from wbc.segment import method

CPU = torch.device("cpu")
STILL = dict.fromkeys(Augment.model_fields, 0.0) | {"scale": [1.0, 1.0], "erase_scale": [0.1, 0.1]}


@pytest.fixture
def trained(tiny_row, coloured):
    """Classes 0 and 1 are red and blue; untrained otherwise."""
    torch.manual_seed(0)
    model, normalisation = build(tiny_row.model)
    known = reference(model.backbone, normalisation, coloured, coloured)
    return Trained(model.eval(), tiny_row.model_dump(exclude_none=True), normalisation, 32, known, temperature=0.4)


@pytest.fixture
def folder(tmp_path, coloured):
    """Three images like the training's and one of noise, as files."""
    rng = np.random.default_rng(0)
    images = [*coloured.pixels.packed[:3], rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)]
    (tmp_path / "in").mkdir()
    for name, image in zip(("a", "b", "c", "noise"), images, strict=True):
        cv2.imwrite(str(tmp_path / "in" / f"{name} ü.png"), image[..., ::-1])
    return tmp_path / "in"


def test_find_takes_folders_files_and_patterns(folder):
    names = [path.name for path in find([str(folder)])]
    assert names == ["a ü.png", "b ü.png", "c ü.png", "noise ü.png"]
    assert find([str(folder / "[ab]*"), str(folder / "a ü.png")]) == find([str(folder)])[:2]
    (folder / "notes.txt").write_text("x")
    for hidden in ("._a.png", "__MACOSX/a.png", ".trash/a.png"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_text("x")
    assert len(find([str(folder)])) == 4
    assert len(find([str(folder / "notes.txt")])) == 1  # asked for by name: it will be said that it is no image
    for nothing in ("nowhere", str(folder / "*.tif")):
        with pytest.raises(UserError, match=f"no image; expected a file, a folder or a pattern of {SUFFIXES[0]}"):
            find([nothing])


@pytest.mark.parametrize("tta", [PLAIN, TTA(passes=2, temperature=0.8)], ids=["plain", "tta"])
def test_classes_and_probabilities_are_the_models_calibrated(trained, folder, coloured, tta):
    still = trained._replace(settings=trained.settings | {"augment": STILL})  # however many images are drawn for
    rows = list(classify(still, find([str(folder)]), CPU, tta))
    expected = still.probabilities(Pixels(coloured.pixels.packed, np.arange(3), CPU), tta).numpy()
    for row, probabilities in zip(rows, scaled(expected, 0.4), strict=False):
        second, first = probabilities.argsort()[-2:]
        assert (row.label, row.runner_up) == (CLASSES[first], CLASSES[second])
        assert row.probability == pytest.approx(probabilities[first], abs=1e-6)
        assert row.runner_up_probability == pytest.approx(probabilities[second], abs=1e-6)
        assert row.probability > expected.max() + 0.01  # which it is without its temperature


def test_what_is_unusual_and_another_view_are_seen(trained, folder):
    rows = list(classify(trained, find([str(folder)]), CPU))
    assert [bool(row.note) for row in rows] == [False, False, False, True]
    assert "unlike the training images" in rows[3].note
    silent = list(classify(trained._replace(reference=None), find([str(folder)]), CPU))
    assert [row._replace(note="") for row in rows] == silent
    views = list(classify(trained, find([str(folder)]), CPU, TTA(passes=2, temperature=0.8)))
    assert [row.probability for row in views] != [row.probability for row in rows]


def test_tta_is_the_mean_of_one_plain_and_r_tempered_passes(trained, coloured):
    images = coloured.pixels
    logits = infer(trained.model, Prepare(trained.normalisation), images)
    torch.testing.assert_close(trained.probabilities(images), logits.softmax(1))
    torch.testing.assert_close(trained.probabilities(images, TTA(passes=0, temperature=0.5)), (logits / 0.5).softmax(1))
    eight = TTA(passes=8, temperature=0.8)
    moved = trained.probabilities(images, eight)
    torch.testing.assert_close(moved.sum(1), torch.ones(40))
    assert torch.equal(trained.probabilities(images, eight), moved)
    still = trained._replace(settings=trained.settings | {"augment": STILL | {"erase": 1.0}})  # which TTA leaves out
    nine = still.probabilities(images, eight)  # equal passes
    torch.testing.assert_close(nine, (logits / 0.8).softmax(1), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(moved, nine, atol=1e-5)


def test_a_model_of_cropped_images_crops_new_ones(trained, tmp_path):
    """As they were packed: what surrounds the middle changes nothing, and the model's file knows."""
    save_model(tmp_path / "m.safetensors", trained._replace(crop=0.5))
    cropping = load_model(tmp_path / "m.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (60, 81, 3), dtype=np.uint8)
    inner, around = middle(image, 0.5), np.zeros_like(image)
    middle(around, 0.5)[:] = inner
    for name, content in (("whole", image), ("around", around), ("inner", inner)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), content[..., ::-1])
    files = [tmp_path / f"{name}.png" for name in ("whole", "around", "inner")]
    first, second, uncropped = (row.probability for row in classify(cropping, files, CPU))
    (expected,) = (row.probability for row in classify(trained, files[2:], CPU))
    assert first == pytest.approx(expected, abs=1e-6)  # batches of other sizes differ in the last bits
    assert first == pytest.approx(second, abs=1e-6) != uncropped


def test_an_unreadable_file_does_not_stop_the_others(trained, folder):
    (folder / "b ü.png").write_bytes(b"not an image")
    rows = list(classify(trained, find([str(folder)]), CPU))
    assert [bool(row.label) for row in rows] == [True, False, True, True]
    assert rows[1].note.startswith("not a JPEG")
    (only,) = classify(trained, [folder / "b ü.png"], CPU)
    assert only.note.startswith("not a JPEG")


# --- a linear model, alone and as a network's partner


@pytest.fixture(scope="module")
def smear(tmp_path_factory):
    """Four drawn cells, and a grey image without one, as files."""
    folder = tmp_path_factory.mktemp("smear")
    cells(["SNE", "LY", "MO", "EO"], folder)
    cv2.imwrite(str(folder / "grey.png"), np.full((40, 30, 3), 200, np.uint8))
    return folder


@pytest.fixture(scope="module")
def measured(smear):
    """What the stages `segment` and `features` measure of them."""
    images = [decode(path.read_bytes()) for path in find([str(smear)])]
    return np.stack([feature_set("v3").extract(image, method("polar").segment(image)) for image in images])


@pytest.fixture
def linear(measured):
    """Of weights at random, but none for PLY."""
    weights = np.random.default_rng(0).normal(size=(13, measured.shape[1])) / (1 + np.abs(measured).max(0))
    bias = np.arange(13) / 10
    weights[12], bias[12] = 0, -np.inf
    return Linear("v3", "polar", weights, bias, 0.5)


@pytest.fixture
def one_core(monkeypatch):
    """Processes of their own, which take seconds to start, are for the tests of the commands."""
    monkeypatch.setattr(parallel, "cpu_count", lambda: 1)


def assert_said(rows, chances):
    assert len(rows) == len(chances)
    for row, probabilities in zip(rows, chances, strict=True):
        second, first = probabilities.argsort()[-2:]
        assert (row.label, row.runner_up) == (CLASSES[first], CLASSES[second])
        assert row.probability == pytest.approx(probabilities[first], abs=1e-6)
        assert row.runner_up_probability == pytest.approx(probabilities[second], abs=1e-6)


@pytest.mark.usefixtures("one_core")
def test_a_linear_model_says_of_a_file_what_it_says_of_its_features(linear, smear, measured):
    rows = list(classify(linear, find([str(smear)]), CPU))
    assert_said(rows, linear.probabilities(measured))
    assert len({row.probability for row in rows}) == 5
    assert [row.note for row in rows] == [""] * 4 + ["no whole cell found"]


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("tta", [PLAIN, TTA(passes=2, temperature=0.8)], ids=["plain", "tta"])
def test_a_network_and_its_partner_are_averaged_each_calibrated(trained, linear, smear, measured, tta):
    files = find([str(smear)])
    images = np.stack([resize(decode(path.read_bytes()), 32) for path in files])
    chances = scaled(trained.probabilities(Pixels(images, np.arange(5), CPU), tta).numpy(), 0.4)
    rows = list(classify(trained._replace(linear=linear, share=0.3), files, CPU, tta))
    assert_said(rows, 0.7 * chances + 0.3 * linear.probabilities(measured))
    assert all("unlike the training images" in row.note for row in rows)
    assert rows[4].note.endswith("; no whole cell found")


def test_a_partner_lies_in_the_networks_file(trained, linear, measured, tmp_path):
    both = trained._replace(linear=linear, share=0.3)
    for name in "ab":
        save_model(tmp_path / name, both)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = load(tmp_path / "a")
    assert (loaded.share, loaded.temperature) == (0.3, 0.4)
    assert np.array_equal(loaded.linear.probabilities(measured), linear.probabilities(measured))
    assert all(torch.equal(*pair) for pair in zip(loaded.model.parameters(), trained.model.parameters(), strict=True))
    save_model(tmp_path / "a", loaded._replace(linear=None))
    assert (load(tmp_path / "a").linear, load(tmp_path / "a").share) == (None, 0.0)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"features": "v9"}, "120 features of the set v9 on polar masks"),
        ({"masks": "disc"}, "120 features of the set v3 on disc masks"),
        ({"features": "v2"}, "120 features of the set v2 on polar masks"),
    ],
    ids=["set", "masks", "count"],
)
def test_features_that_nothing_here_measures_are_said(trained, linear, tmp_path, change, wanted):
    unknown = linear._replace(**change)
    save_linear(tmp_path / "alone", unknown)
    save_model(tmp_path / "both", trained._replace(linear=unknown, share=0.5))
    for name in ("alone", "both"):
        with pytest.raises(UserError, match=f"{name}: wants {wanted}, which this version does not measure"):
            load(tmp_path / name)


def test_what_needs_a_network_alone_says_so(trained, linear, smear, tmp_path):
    paths = tmp_path / "alone.safetensors", tmp_path / "both.safetensors"
    save_linear(paths[0], linear)
    save_model(paths[1], trained._replace(linear=linear, share=0.5))
    for option in (["--tta"], ["--explain", str(tmp_path / "why")]):
        with pytest.raises(SystemExit, match=r"alone\.safetensors: --tta and --explain need a network"):
            main(["classify", str(smear), "--model", str(paths[0]), *option])
    for path in paths:
        with pytest.raises(SystemExit, match=r"ONNX cannot segment .* export the network's own file"):
            main(["export", "--model", str(path)])
    assert set(tmp_path.iterdir()) == set(paths)
    with pytest.raises(UserError, match=r"alone\.safetensors: a linear model, not a network"):
        load_model(paths[0])


class Red(torch.nn.Module):
    """Finds red: maps of 8×8 and 2×2 pixels at 32, which follow the image."""

    feature_info: ClassVar = [{"module": "fine", "reduction": 4}, {"module": "coarse", "reduction": 16}]

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = torch.nn.AvgPool2d(4), torch.nn.AvgPool2d(4)

    def forward(self, x):
        return self.coarse(self.fine(x[:, :1])).mean((2, 3))


def test_layer_cam_is_hot_where_the_evidence_is(trained):
    trained.model.backbone, trained.model.head = Red(), torch.nn.Linear(1, 13)
    torch.nn.init.constant_(trained.model.head.weight, 1.0)
    plainly = trained._replace(normalisation={"mean": [0.0] * 3, "std": [1.0] * 3})
    image = np.zeros((64, 48, 3), np.uint8)
    image[8:24, 24:40, 0] = 255
    overlay = layer_cam(plainly, image, "LY").astype(int) - (0.6 * image)
    heat = overlay[..., 0] - overlay[..., 2]  # red is hot, blue is cold
    assert overlay.shape == image.shape
    assert heat[10:22, 26:38].min() > 0 > heat[32:].max()  # the coarse map would spread it over a quarter
    assert heat[:, :16].max() < 0
    cropped = layer_cam(plainly._replace(crop=0.5), image, "LY").astype(int) - (0.6 * image)
    assert (cropped[..., 0] > cropped[..., 2])[16:48, 12:36].any()
    (cropped[16:48, 12:36]) = cropped[0, 0]
    assert (cropped == cropped[0, 0]).all()  # cold where it does not look
    nothing = layer_cam(plainly._replace(size=16), np.zeros_like(image), "LY")  # no map is large enough: the largest
    assert (nothing == nothing[0, 0]).all()


def test_what_misled_is_kept_of_the_mistakes_alone(trained):
    trained.model.backbone, trained.model.head = Red(), torch.nn.Linear(1, 13)
    torch.nn.init.constant_(trained.model.head.weight, 1.0)
    plainly = trained._replace(normalisation={"mean": [0.0] * 3, "std": [1.0] * 3})
    images = np.zeros((3, 64, 64, 3), np.uint8)
    images[1, 32:, :32, 0] = 255
    pixels = Pixels(images, np.arange(3), torch.device("cpu"))
    wrong, maps = of_mistakes(plainly, pixels, np.array([0, 0, -1]), np.array([0, 3, 5]))
    assert (wrong.tolist(), maps.shape, maps.dtype) == ([1], (1, SIDE, SIDE), np.uint8)
    assert maps[0, 10:, :6].min() > 200 > 50 > maps[0, :6].max()
    wrong, maps = of_mistakes(plainly, pixels, np.array([0, 3, -1]), np.array([0, 3, 5]))
    assert (wrong.tolist(), maps.shape) == ([], (0, SIDE, SIDE))  # of a network that makes none
    plainly.model.backbone = ChannelsLast()  # has no map
    assert of_mistakes(plainly, pixels, np.array([0, 0, -1]), np.array([0, 3, 5]))[1].shape == (0, SIDE, SIDE)


class ChannelsLast(Red):
    """As Swin's maps."""

    def __init__(self):
        super().__init__()
        self.fine = torch.nn.Sequential(self.fine, Permute([0, 2, 3, 1]))

    def forward(self, x):
        return self.coarse(self.fine(x[:, :1]).permute(0, 3, 1, 2)).mean((2, 3))


def test_a_backbone_without_a_feature_map_is_said(tiny_row, trained):
    settings = tiny_row.model.model_copy(update={"name": "test_vit"})
    tokens = trained._replace(model=build(settings)[0], settings={"model": {"name": "test_vit"}}, size=160)
    swapped = trained._replace(settings={"model": {"name": "swin"}})
    swapped.model.backbone, swapped.model.head = ChannelsLast(), torch.nn.Linear(1, 13)
    for other, name in ((tokens, "test_vit"), (swapped, "swin")):
        with pytest.raises(UserError, match=f"{name}: has no feature map"):
            layer_cam(other, np.zeros((160, 160, 3), np.uint8), "LY")


@pytest.mark.parametrize("crop", [1.0, 0.75])
def test_onnx_says_of_images_of_any_size_what_classify_says(trained, tmp_path, crop):
    import onnxruntime

    trained = trained._replace(crop=crop)
    export_onnx(trained, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert session.get_modelmeta().custom_metadata_map["classes"] == ",".join(CLASSES)
    assert not list(tmp_path.glob("*.data"))
    rng = np.random.default_rng(0)
    for height, width in ((32, 32), (64, 64), (128, 128), (363, 360), (300, 100), (24, 20), (20, 70), (1, 1)):
        images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        files = [tmp_path / f"{number}.png" for number in range(2)]
        for file, image in zip(files, images, strict=True):
            cv2.imwrite(str(file), image[..., ::-1])
        (probabilities,) = session.run(None, {"pixels": images})
        for row, found in zip(classify(trained, files, CPU), probabilities, strict=True):
            first, second = found.argsort()[:-3:-1]
            assert (row.label, row.runner_up) == (CLASSES[first], CLASSES[second])
            assert row.probability == pytest.approx(found[first], abs=1e-4)
            assert row.runner_up_probability == pytest.approx(found[second], abs=1e-4)


@pytest.mark.parametrize("crop", [1.0, 0.75])
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (368, 370), (300, 100), (224, 500), (20, 30), (1, 1)])
def test_an_exported_model_scales_to_the_same_pixels(size, shape, crop):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    apart = np.abs(Resize(size, crop)(torch.from_numpy(image[None]))[0].numpy() - resize(middle(image, crop), size))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-4


def test_tta_takes_the_passes_and_the_temperature_of_the_row(trained, tiny_row, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "m.safetensors", trained)
    command = ["classify", str(folder), "--model", "m.safetensors", "--out", "p.csv", "--tta"]
    with pytest.raises(SystemExit, match=r"error: configs/m\.yaml: no such file"):
        main(command)
    tta = TTA(passes=1, temperature=0.5)
    save_model(tmp_path / "m_blend-1.safetensors", trained)
    for number, settings in enumerate((["configs/m.yaml"], ["elsewhere.yaml"])):
        write_json(settings[0], tiny_row.model_copy(update={"tta": tta}).model_dump(exclude_none=True))
        main([*command, *["--settings", *settings][: 2 * number]])
        with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
            found = [float(row["probability"]) for row in csv.DictReader(file)]
        assert found == pytest.approx(
            [row.probability for row in classify(trained, find([str(folder)]), CPU, tta)], abs=1e-6
        )
    main([*command[:3], "m_blend-1.safetensors", *command[4:]])  # a blend's is its row's


def test_tta_of_a_model_that_is_called_as_other_settings_are_is_said(trained, folder, params, tmp_path, monkeypatch):
    """A blend under another name: configs/blend.yaml is no row's."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "blend.safetensors", trained)
    write_json("configs/blend.yaml", resolve(params)["blend"])
    with pytest.raises(
        SystemExit, match=r"error: configs/blend\.yaml: not the settings of a row; name .* by --settings"
    ):
        main(["classify", str(folder), "--model", "blend.safetensors", "--tta"])


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("in", "Is a directory"),
        ("model.safetensors/p.csv", "File exists|Not a directory"),
        ("x" * 250 + ".csv", "File name too long"),
        ("locked/p.csv", "Permission denied"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("classify", "in", "--model", "model.safetensors", "--out"),
        ("classify", "in", "--model", "model.safetensors", "--explain"),
        ("export", "--model", "model.safetensors", "--out"),
        ("label-check", "v3-0.npz", "--out"),
    ],
    ids=["classify", "explain", "export", "label-check"],
)
def test_where_nothing_can_be_written_no_work_is_done(trained, folder, tmp_path, monkeypatch, command, out, why):
    if command[-1] == "--explain":
        if out == "in" or out.startswith("x"):
            pytest.skip("a folder that can be")
        out = out.removesuffix("/p.csv")
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model.safetensors", trained)
    Path("locked").mkdir(mode=0o555)
    Path(".").chmod(0o755)
    for work in ("use.classify.classify", "use.export.export_onnx", "report.labels.suspects"):
        monkeypatch.setattr(f"wbc.{work}", lambda *_: pytest.fail("worked"))
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(SystemExit, match=f"^error: .*({why})$"):
            main([*command, out])
    finally:
        os.seteuid(user)
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_name_that_is_no_utf_8_is_written_as_it_is_printed(trained, folder, tmp_path, capfd):
    save_model(tmp_path / "m.safetensors", trained)
    shutil.copy(folder / "a ü.png", os.fsencode(folder) + b"/\xff.png")
    command = ["classify", str(folder), "--model", str(tmp_path / "m.safetensors")]
    main([*command, "--out", str(tmp_path / "p.csv")])
    subprocess.run([sys.executable, "-m", "wbc", *command], check=True)
    for text in ((tmp_path / "p.csv").read_text(encoding="utf-8"), capfd.readouterr().out):
        lines = [line.partition(",")[2] for line in text.splitlines() if "a ü.png," in line or "\\udcff.png," in line]
        assert len(lines) == 2
        assert lines[0] == lines[1]  # of the same image


# --- where the labels are known


@pytest.fixture
def labelled(linear, smear, tmp_path):
    """The model and a folder `images` of its images under names, and what it says of each."""
    save_linear(tmp_path / "m.safetensors", linear)
    shutil.copytree(smear, tmp_path / "cells/images")
    files = find([str(tmp_path / "cells")])
    return files, [row.label for row in classify(linear, files, CPU)]


def scored(tmp_path, *options):
    main(["classify", str(tmp_path / "cells"), "--model", str(tmp_path / "m.safetensors"), *options])


@pytest.mark.usefixtures("one_core")
def test_images_with_labels_are_scored_and_what_is_left_out_is_said(labelled, tmp_path, capsys):
    files, said = labelled
    ids = [file.stem for file in files]
    other = next(c for c in CLASSES if c not in (*said, "PLY"))
    truth = [said[0], other, "PLY", "Lymphocyte"]  # of the last image nothing is known
    lines = [*zip(ids, truth, strict=False), ("gone", "LY")]
    write_csv(tmp_path / "cells/labels.csv", ["ID", "labels"], lines)
    scored(tmp_path, "--out", str(tmp_path / "p.csv"))
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "p.scores.json").read_text())
    classes = sorted(set(truth[:3]))
    assert found["f1"] == pytest.approx(
        f1_score(truth[:3], said[:3], labels=classes, average="macro", zero_division=0), abs=1e-6
    )
    assert found["accuracy"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert found["images"] == 3
    assert sum(n for row in found["confusion"].values() for n in row.values()) == 3
    assert found["confusion"][other][said[1]] == 1
    assert found["left_out"] == {"in the list: no such file": 1, "unknown label 'Lymphocyte'": 1, "no label": 1}
    assert found["never_seen"] == {"PLY": 1}
    for line in ("accuracy 0.333 (95% interval ", "left out, no label: 1", "PLY: 1 images of a class that the model"):
        assert line in printed


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("layout", ["beside", "elsewhere", "folders"])
def test_labels_are_found_beside_the_images_elsewhere_or_in_folders_names(labelled, tmp_path, capsys, layout):
    files, said = labelled
    options, lines = [], [(file.name, label) for file, label in zip(files, said, strict=True)]
    if layout == "folders":
        for file, label in zip(files, said, strict=True):
            (tmp_path / "cells" / label / "P1").mkdir(parents=True, exist_ok=True)
            file.rename(tmp_path / "cells" / label / "P1" / file.name)
    else:
        table = tmp_path / ("cells/labels.csv" if layout == "beside" else "truth.csv")
        write_csv(table, ["ID", "labels"], lines)
        options = ["--labels", str(table)] if layout == "elsewhere" else []
    scored(tmp_path, *options)
    printed = capsys.readouterr()
    assert "accuracy 1.000" in printed.err
    assert len(list(csv.DictReader(printed.out.splitlines()))) == 5  # a pipe takes the table alone


@pytest.mark.usefixtures("one_core")
def test_labels_that_cannot_be_used_are_said_before_the_work(labelled, tmp_path, monkeypatch, capsys):
    table = tmp_path / "cells/labels.csv"
    table.write_text("file,class\nx,LY\n")
    scored(tmp_path)  # nobody asked for scores
    assert "no scores: " in capsys.readouterr().err
    monkeypatch.setattr("wbc.cli.classify.classify", lambda *_: pytest.fail("worked"))
    with pytest.raises(SystemExit, match="no column 'ID'"):
        scored(tmp_path, "--labels", str(table))
    table.write_text("ID,labels\nx,LY\n")
    with pytest.raises(SystemExit, match=r"labels\.csv: labels no image in .*cells; name the folder of its images"):
        scored(tmp_path, "--labels", str(table))


def test_the_commands_write_what_they_say(trained, linear, folder, tmp_path):
    save_model(tmp_path / "m.safetensors", trained)

    def wbc(*arguments):
        command = [sys.executable, "-m", "wbc", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    (folder / "broken.jpg").write_bytes(b"")
    model = ("--model", tmp_path / "m.safetensors")
    done = wbc("classify", folder, *model, "--out", tmp_path / "p.csv", "--explain", tmp_path / "why")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "error: 1 of 5 files could not be read; the notes say why",
    )
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert "empty file" in [row["note"] for row in rows]
    assert len(list((tmp_path / "why").glob("*.jpg"))) == 4
    assert wbc("export", *model).returncode == 0
    assert (tmp_path / "m.onnx").exists()
    blend = trained._replace(linear=linear, share=0.5)
    save_model(tmp_path / "b.safetensors", blend)
    alike = (*model[:1], tmp_path / "b.safetensors", "--out", tmp_path / "b.csv", "--explain", tmp_path / "both")
    assert wbc("classify", folder, *alike).returncode == 1
    (folder / "broken.jpg").unlink()
    with (tmp_path / "b.csv").open(encoding="utf-8", newline="") as file:
        found = {row["image"]: row for row in csv.DictReader(file) if row["label"]}
    for row in classify(blend, find([str(folder)]), CPU):
        assert found[row.image]["label"] == row.label
        assert float(found[row.image]["probability"]) == pytest.approx(row.probability, abs=1e-5)
    assert len(list((tmp_path / "both").glob("*.jpg"))) == 4
    missing = wbc("classify", folder, "--model", "nowhere.safetensors")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: nowhere.safetensors")
    assert "Traceback" not in done.stderr + missing.stderr
