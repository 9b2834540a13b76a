"""`python -m wbc classify` and `export`: what a trained model says of new images."""

import csv
import json
import os
import re
import shutil
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torchvision.ops import Permute

from settings import STILL
from wbc.__main__ import main
from wbc.classical.model import save_classical
from wbc.cli.classify import NOVEL, classify, explain, find_images
from wbc.cli.export import resize as onnx_resize
from wbc.config.schema import TTA
from wbc.core import parallel
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import write_csv
from wbc.dataset.images import SUFFIXES, decode
from wbc.dataset.pack import centre_crop, resize
from wbc.models.model import Inputs, Model, load, save_blend
from wbc.network.explain import SIDE, mistake_maps
from wbc.network.inference import infer
from wbc.network.model import NO_TTA, REPORT_TTA, build, save_model
from wbc.network.pixels import Pixels
from wbc.network.prepare import Prepare
from wbc.scoring.calibration import apply_temperature

CPU = torch.device("cpu")
VIEWS = TTA(passes=2, temperature=0.8)
CHANNELS_LAST = (0, 2, 3, 1)
SCORED = ["classify", "cells", "--model", "m.skops"]
both_ways = pytest.mark.parametrize("tta", [NO_TTA, VIEWS], ids=["plain", "tta"])


def write(name, image):
    cv2.imwrite(name, image[..., ::-1])
    return Path(name)


@pytest.fixture
def folder(quick, coloured):
    """Three images like the training's and one of noise, as files."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Path("in").mkdir()
    for name, image in zip(("a", "b", "c", "noise"), [*coloured.pixels.packed[:3], noise], strict=True):
        write(f"in/{name} ü.png", image)
    return Path("in")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(parallel, "cpu_count", lambda: 1)  # worker processes take seconds to start
    monkeypatch.chdir(tmp_path)


def classified(model, files, tta=NO_TTA):
    return list(classify(model, find_images([str(files)]), CPU, tta))


def assert_predicted(rows, probabilities):
    for row, each in zip(rows, probabilities, strict=True):
        second, first = each.argsort()[-2:]
        assert (row.label, row.runner_up) == (CLASSES[first], CLASSES[second])
        assert (row.probability, row.runner_up_probability) == pytest.approx((each[first], each[second]), abs=1e-6)


def test_find_images_takes_folders_files_and_patterns(folder):
    files = find_images(["in"])
    assert [path.name for path in files] == ["a ü.png", "b ü.png", "c ü.png", "noise ü.png"]
    assert find_images(["in/[ab]*", "in/a ü.png"]) == files[:2]
    for other in ("notes.txt", "._a.png", "__MACOSX/a.png", ".trash/a.png"):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_text("x")
    assert find_images(["in"]) == files
    assert find_images(["in/notes.txt"]) == [folder / "notes.txt"]  # the note will say that it is no image
    os.mkfifo("in/pipe.png")
    for nothing in ("nowhere", "in/*.tif", "in/pipe.png"):
        with pytest.raises(UserError, match=f"no image; expected a file, a folder or a pattern of {SUFFIXES[0]}"):
            find_images([nothing])


@both_ways
def test_classes_and_probabilities_are_the_networks_calibrated(trained, folder, coloured, tta):
    still = trained._replace(settings=trained.settings | {"augment": STILL.model_dump()})  # TTA draws nothing
    rows = classified(Model(still), folder, tta)
    expected = still.probabilities(Pixels(coloured.pixels.packed, np.arange(3), CPU), tta).numpy()
    assert_predicted(rows[:3], apply_temperature(expected, 0.4))
    assert rows[0].probability > expected.max() + 0.01  # the temperature is in use
    assert [row.note for row in rows] == ["", "", "", NOVEL]
    silent = classified(Model(still._replace(reference=None)), folder, tta)
    assert [row._replace(note="") for row in rows] == silent


def test_tta_is_the_mean_of_one_plain_and_r_tempered_passes(trained, coloured):
    logits = infer(trained.model, Prepare(trained.normalisation), coloured.pixels)
    torch.testing.assert_close(trained.probabilities(coloured.pixels), logits.softmax(1))
    moved = trained.probabilities(coloured.pixels, REPORT_TTA)
    assert torch.equal(trained.probabilities(coloured.pixels, REPORT_TTA), moved)
    erased = trained.settings | {"augment": STILL.model_copy(update={"erase": 1.0}).model_dump()}  # TTA does not erase
    still = trained._replace(settings=erased).probabilities(coloured.pixels, REPORT_TTA)
    torch.testing.assert_close(still, (logits / 0.8).softmax(1), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(moved, still, atol=1e-5)


def test_a_model_of_cropped_images_crops_new_ones(trained):
    save_model("m.safetensors", trained._replace(crop=0.5))
    image = np.random.default_rng(0).integers(0, 256, (60, 81, 3), dtype=np.uint8)
    inner, around = centre_crop(image, 0.5), np.zeros_like(image)
    centre_crop(around, 0.5)[:] = inner
    files = [write(f"{i}.png", content) for i, content in enumerate((image, around, inner))]
    first, second, uncropped = (row.probability for row in classify(load("m.safetensors"), files, CPU))
    (expected,) = (row.probability for row in classify(Model(trained), files[2:], CPU))
    assert first == pytest.approx(expected, abs=1e-6)  # batches of other sizes differ in the last bits
    assert first == pytest.approx(second, abs=1e-6) != uncropped


def test_a_classical_model_classifies_a_file_by_its_features(classical, smear, measured):
    rows = classified(Model(classical=classical), smear)
    assert_predicted(rows, classical.probabilities(measured))
    assert [row.note for row in rows] == [""] * 4 + [f"{NOVEL}; no whole cell found"]


@both_ways
def test_a_blend_gives_the_weighted_mean(trained, classical, smear, measured, tta):
    blend = Model(trained, classical, (0.7, 0.3))
    images = np.stack([resize(decode(path.read_bytes()), 32) for path in find_images([str(smear)])])
    rows = classified(blend, smear, tta)
    assert_predicted(rows, blend.probabilities(Inputs(Pixels(images, np.arange(5), CPU), measured), tta))
    assert [row.note for row in rows] == [NOVEL] * 4 + [f"{NOVEL}; no whole cell found"]  # novel to the network


@pytest.fixture
def models(quick, trained, classical):
    """Files of a network, a classical model and their blend."""
    save_model("m.safetensors", trained)
    save_classical("m.skops", classical)
    save_blend("m.zip", Path("m.safetensors"), Path("m.skops"), (0.5, 0.5))
    return ["m.safetensors", "m.skops", "m.zip"]


def test_what_needs_a_network_alone_says_so(models, smear):
    for option in (["--tta"], ["--explain", "why"]):
        with pytest.raises(SystemExit, match=r"m\.skops: --tta and --explain need a network"):
            main(["classify", str(smear), "--model", "m.skops", *option])
    for name in ("m.skops", "m.zip"):
        with pytest.raises(SystemExit, match=r"ONNX cannot segment cells; export a network, runs/"):
            main(["export", "--model", name])
    assert sorted(os.listdir()) == models


class Red(torch.nn.Module):
    """Finds red: maps of 8×8 and 2×2 pixels at 32, which follow the image. The fine ones may be ordered as Swin's."""

    feature_info: ClassVar = [{"module": "fine", "reduction": 4}, {"module": "coarse", "reduction": 16}]

    def __init__(self, order=(0, 1, 2, 3)):
        super().__init__()
        self.fine = torch.nn.Sequential(torch.nn.AvgPool2d(4), Permute(order))
        self.coarse = torch.nn.Sequential(Permute(np.argsort(order).tolist()), torch.nn.AvgPool2d(4))

    def forward(self, x):
        return self.coarse(self.fine(x[:, :1])).mean((2, 3))


@pytest.fixture
def red(trained):
    trained.model.backbone, trained.model.head = Red(), torch.nn.Linear(1, 13)
    torch.nn.init.constant_(trained.model.head.weight, 1.0)
    return trained._replace(normalisation={"mean": [0.0] * 3, "std": [1.0] * 3})


def test_an_explanation_is_hot_where_the_evidence_is(red):
    def overlay(network, image):
        return explain(network, image, "LY", 0.9)[: len(image)].astype(int) - 0.6 * image

    image = np.zeros((64, 48, 3), np.uint8)
    image[8:24, 24:40, 0] = 255
    found = overlay(red, image)
    heat = found[..., 0] - found[..., 2]  # red is hot, blue is cold
    assert heat[10:22, 26:38].min() > 0 > heat[32:].max()  # the coarse map would spread it over a quarter
    assert heat[:, :16].max() < 0
    cropped = overlay(red._replace(crop=0.5), image)
    assert (cropped[..., 0] > cropped[..., 2])[16:48, 12:36].any()
    cropped[16:48, 12:36] = cropped[0, 0]
    assert (cropped == cropped[0, 0]).all()  # cold where it does not look
    nothing = overlay(red._replace(size=16), np.zeros_like(image))  # no map is large enough: the largest is used
    assert (nothing == nothing[0, 0]).all()


@pytest.mark.parametrize("side", [128, 400])
def test_a_strip_below_an_explanation_names_the_class_and_its_probability(red, side):
    """Its text differs, is at least 12 pixels high, and is not cut off."""
    image = np.zeros((side, side, 3), np.uint8)
    strips = [explain(red, image, *text)[side:] for text in (("MMY", 0.97), ("SNE", 0.97), ("MMY", 0.5))]
    for strip in strips:
        assert (strip < 128).any((1, 2)).sum() >= 12
        assert min(strip[[0, -1]].min(), strip[:, [0, -1]].min()) == 255
    assert len({strip.tobytes() for strip in strips}) == 3
    assert explain(red, image[:4, :4], "LY", 1.0).shape[1:] == (4, 3)


def test_what_misled_is_kept_of_the_most_confident_mistakes_alone(red, monkeypatch):
    images = np.zeros((3, 64, 64, 3), np.uint8)
    images[1, 32:, :32, 0] = 255
    pixels, predicted = Pixels(images, np.arange(3), CPU), np.eye(13)[[0, 3, 5]] * [[0.5], [0.7], [0.9]]
    wrong, maps = mistake_maps(red, pixels, np.array([0, 0, -1]), predicted)
    assert (wrong.tolist(), maps.shape, maps.dtype) == ([1], (1, SIDE, SIDE), np.uint8)
    assert maps[0, 10:, :6].min() > 200 > 50 > maps[0, :6].max()
    wrong, maps = mistake_maps(red, pixels, np.array([0, 3, -1]), predicted)
    assert (wrong.tolist(), maps.shape) == ([], (0, SIDE, SIDE))  # no mistakes
    monkeypatch.setattr("wbc.network.explain.MISTAKES", 1)
    assert mistake_maps(red, pixels, np.array([1, 1, 2]), predicted)[0].tolist() == [1, 2]
    red.model.backbone = Red(CHANNELS_LAST)  # has no map
    assert mistake_maps(red, pixels, np.array([0, 0, -1]), predicted)[1].shape == (0, SIDE, SIDE)


def test_a_backbone_without_a_feature_map_is_refused(tiny_row, red):
    tokens = build(tiny_row.model.model_copy(update={"name": "test_vit"}))[0]
    red.model.backbone = Red(CHANNELS_LAST)
    for model, size in ((tokens, 160), (red.model, 32)):
        network = red._replace(model=model, settings={"model": {"name": "other"}}, size=size)
        with pytest.raises(UserError, match="other: has no feature map"):
            explain(network, np.zeros((160, 160, 3), np.uint8), "LY", 0.9)


def test_onnx_and_classify_agree_on_images_of_any_size(trained):
    import onnxruntime

    save_model("m.safetensors", trained._replace(crop=0.75))
    main(["export", "--model", "m.safetensors"])
    assert sorted(os.listdir()) == ["m.onnx", "m.safetensors"]
    session = onnxruntime.InferenceSession("m.onnx")
    assert session.get_modelmeta().custom_metadata_map["classes"] == ",".join(CLASSES)
    rng, model = np.random.default_rng(0), load("m.safetensors")
    for height, width in ((32, 32), (363, 360), (300, 100), (20, 70), (1, 1)):
        images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        files = [write(f"{number}.png", image) for number, image in enumerate(images)]
        (probabilities,) = session.run(None, {"pixels": images})
        for row, found in zip(classify(model, files, CPU), probabilities, strict=True):
            assert row.label == CLASSES[found.argmax()]
            assert row.probability == pytest.approx(found.max(), abs=1e-4)


@pytest.mark.parametrize("crop", [1.0, 0.75])
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("shape", [(64, 64), (368, 370), (300, 100), (224, 500), (20, 30), (1, 1)])
def test_an_exported_model_scales_to_the_same_pixels(size, shape, crop):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = onnx_resize(torch.from_numpy(image[None]), size, crop)[0].numpy()
    apart = np.abs(found - resize(centre_crop(image, crop), size))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-4


UNWRITABLE = ["in", "m.safetensors/p.csv", "locked/p.csv"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("command", "outputs"),
    [
        ("classify in --model m.safetensors --out", UNWRITABLE),
        ("classify in --model m.safetensors --html", UNWRITABLE),
        ("classify in --model m.safetensors --explain", ["m.safetensors", "locked"]),
        ("export --model m.safetensors --out", UNWRITABLE),
        ("label-check v3-0.npz --out", UNWRITABLE),
    ],
)
def test_where_nothing_can_be_written_no_work_is_done(trained, monkeypatch, command, outputs):
    save_model("m.safetensors", trained)
    Path("locked").mkdir(mode=0o555)
    Path(".").chmod(0o755)
    for work in ("classify.classify", "export.export_onnx", "label_check.suspects"):
        monkeypatch.setattr(f"wbc.cli.{work}", lambda *_: pytest.fail("worked"))
    user, why = os.getuid(), "Is a directory|File exists|Not a directory|Permission denied"
    try:
        if user == 0:  # root may write anywhere
            os.setreuid(65534, 0)
        for out in outputs:
            with pytest.raises(SystemExit, match=f"^error: .*({why})$"):
                main([*command.split(), out])
    finally:
        os.setreuid(user, user)
    assert not list(Path(".").rglob(".*.tmp"))


def test_a_name_that_is_no_utf_8_is_written_as_it_is_printed(trained, folder, capfd):
    save_model("m.safetensors", trained)
    shutil.copy(folder / "a ü.png", b"in/\xff.png")
    command = ["classify", "in", "--model", "m.safetensors"]
    main([*command, "--out", "p.csv"])
    capfd.readouterr()
    main(command)
    printed = capfd.readouterr().out
    assert printed == Path("p.csv").read_text(encoding="utf-8")
    assert len({line.partition(",")[2] for line in printed.splitlines() if re.search(r"a ü|\\udcff", line)}) == 1


def test_classify_writes_tables_and_pictures(models, smear):
    shutil.copytree(smear, "images")
    Path("images/broken.jpg").write_bytes(b"")
    for file, pictures in zip(models, (5, 0, 5), strict=True):
        options = ["--tta", "--explain", "why"] if pictures else []
        with pytest.raises(SystemExit, match=r"^error: 1 of 6 files could not be read; the notes say why$"):
            main(["classify", "images", "--model", file, "--out", "p.csv", *options])
        found = list(csv.DictReader(Path("p.csv").read_text(encoding="utf-8").splitlines()))
        expected = classified(load(file), "images", REPORT_TTA if options else NO_TTA)
        for row, each in zip(found, expected, strict=True):
            assert (row["image"], row["label"], row["note"]) == (each.image, each.label, each.note)
            assert not row["label"] or float(row["probability"]) == pytest.approx(each.probability, abs=1e-5)
        assert [row["note"] for row in found if not row["label"]] == ["empty file"]
        assert len(list(Path("why").glob("*.jpg"))) == pictures
        shutil.rmtree("why", ignore_errors=True)
    (alone,) = classified(load("m.zip"), "images/broken.jpg")
    assert alone.note == "empty file"
    with pytest.raises(SystemExit, match=r"^error: nowhere\.safetensors"):
        main(["classify", "images", "--model", "nowhere.safetensors"])


@pytest.fixture
def labelled(quick, classical, smear):
    """A folder of images with a classical model, and the model's predictions."""
    save_classical("m.skops", classical)
    shutil.copytree(smear, "cells/images")
    rows = classified(Model(classical=classical), "cells")
    return [(Path(row.image), row.label) for row in rows]


def test_images_with_labels_are_scored_and_the_others_are_counted(labelled, capsys):
    ids, predicted = [file.stem for file, _ in labelled], [label for _, label in labelled]
    other = next(c for c in CLASSES if c not in (*predicted, "PLY"))
    truth = [predicted[0], other, "PLY", "Lymphocyte"]  # the last image has no label
    write_csv("cells/labels.csv", ["ID", "labels"], [*zip(ids, truth, strict=False), ("gone", "LY")])
    main([*SCORED, "--out", "p.csv"])
    printed, found = capsys.readouterr().out, json.loads(Path("p.scores.json").read_text())
    f1 = f1_score(truth[:3], predicted[:3], labels=sorted(truth[:3]), average="macro", zero_division=0)
    assert (found["f1"], found["accuracy"]) == pytest.approx((f1, 1 / 3), abs=1e-6)
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert found["images"] == sum(n for row in found["confusion"].values() for n in row.values()) == 3
    assert found["confusion"][other][predicted[1]] == 1
    assert found["left_out"] == {"in the list: no such file": 1, "unknown label 'Lymphocyte'": 1, "no label": 1}
    assert found["never_seen"] == {"PLY": 1}
    assert "\naccuracy 0.333 (95% interval " in printed
    assert "\nleft out, no label: 1\nPLY: 1 images of a class that the model cannot predict\n" in printed
    write_csv("cells/labels.csv", ["ID", "labels"], [(ids[0], "Lymphocyte")])
    main(SCORED)
    assert "0 images with a label\nleft out, unknown label 'Lymphocyte': 1\n" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["beside", "elsewhere", "folders"])
def test_labels_are_found_beside_the_images_elsewhere_or_in_folders_names(labelled, capsys, layout):
    options = ["--labels", "truth.csv"] if layout == "elsewhere" else []
    if layout == "folders":
        for file, label in labelled:
            Path("cells", label, "P1").mkdir(parents=True, exist_ok=True)
            file.rename(Path("cells", label, "P1", file.name))
    else:
        table = options[1] if options else "cells/labels.csv"
        write_csv(table, ["ID", "labels"], [(file.name, label) for file, label in labelled])
    main([*SCORED, *options])
    printed = capsys.readouterr()
    assert "accuracy 1.000" in printed.err
    assert len(list(csv.DictReader(printed.out.splitlines()))) == 5  # a pipe takes the table alone


def test_labels_that_cannot_be_used_are_refused_before_the_work(labelled, monkeypatch, capsys):
    table = Path("cells/labels.csv")
    table.write_text("file,class\nx,LY\n")
    main(SCORED)  # nobody asked for scores
    assert "no scores: " in capsys.readouterr().err
    monkeypatch.setattr("wbc.cli.classify.classify", lambda *_: pytest.fail("worked"))
    with pytest.raises(SystemExit, match="no column 'ID'"):
        main([*SCORED, "--labels", str(table)])
    table.write_text("ID,labels\nx,LY\n")
    with pytest.raises(SystemExit, match=r"labels\.csv: labels no image in cells; name the folder of its images"):
        main([*SCORED, "--labels", str(table)])
