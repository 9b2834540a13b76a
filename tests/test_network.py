"""A network without training: its input, weights, file, inference and novelty."""

import json
import os
from unittest.mock import MagicMock

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from skimage.color import combine_stains, hed_from_rgb, rgb_from_hed, separate_stains

from settings import STILL
from wbc.core.errors import WeightsError
from wbc.network.explain import mistake_maps
from wbc.network.inference import InsufficientMemoryError, choose_device, infer
from wbc.network.model import Network, build, check_size, load_model, save_model
from wbc.network.pixels import Part, Pixels, fits
from wbc.network.prepare import Prepare, StainJitter
from wbc.network.reference import fit_reference
from wbc.scoring.novelty import Reference

CPU = torch.device("cpu")
IDENTITY = {"mean": [0.0] * 3, "std": [1.0] * 3}


def model_settings(row, **changes):
    return row.model.model_copy(update=changes)


def still(**changes):
    return STILL.model_copy(update=changes)


def test_without_augmentation_pixels_are_only_scaled_and_normalised():
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    prepared = Prepare({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]})(pixels)
    by_hand = (pixels.numpy() / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(prepared.permute(0, 2, 3, 1), by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(Prepare(IDENTITY, STILL)(pixels), Prepare(IDENTITY)(pixels), atol=1e-4)


CHANGES = {"flip": 0.5, "rotation": 180.0, "translate": 0.2, "scale": [0.5, 1.5], "brightness": 0.5, "contrast": 0.5}


@pytest.mark.parametrize("change", (CHANGES | {"saturation": 0.9, "stain": 0.2, "erase": 0.5}).items())
def test_each_augmentation_is_drawn_for_each_image(change):
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 16, 16, 3), dtype=torch.uint8)
    prepared = Prepare(IDENTITY, still(**dict([change])))(image.repeat(16, 1, 1, 1))
    assert len({tuple(p.flatten().tolist()) for p in prepared}) > 3  # flips make four kinds, the others more


def test_random_numbers_are_drawn_on_the_cpu_wherever_the_images_are():
    """Another device's generator would draw other numbers, and wait for its queue."""
    prepare = Prepare(IDENTITY, still(flip=0.5, brightness=0.5, erase=0.5)).to("meta")
    random = [change for change in prepare.changes if hasattr(change, "forward_parameters")]
    assert (prepare.mean.device.type, len(random)) == ("meta", 5)
    assert {tensor.device for it in random for tensor in it.forward_parameters((2, 3, 8, 8)).values()} == {CPU}


def test_stains_change_as_scikit_image_separates_them():
    """s' = α s + β (Tellez et al. 2018); scikit-image's stains are in units of -log(1e-6) of optical density."""
    rng = np.random.default_rng(0)
    images = np.stack([combine_stains(rng.uniform(0.01, 0.05, (8, 8, 3)), rgb_from_hed) for _ in range(400)])
    torch.manual_seed(0)
    alpha, beta = 0.2 * (2 * torch.rand(2, 400, 3).numpy() - 1)
    torch.manual_seed(0)
    changed = StainJitter(0.2)(torch.from_numpy(images).float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    for image, result, a, b in zip(images, changed, 1 + alpha, beta, strict=True):
        stains = separate_stains(image, hed_from_rgb) * a + b / -np.log(1e-6)
        np.testing.assert_allclose(result, combine_stains(stains, rgb_from_hed), atol=1e-5)


def test_an_erased_patch_has_the_mean_colour():
    pixels = torch.full((4, 16, 16, 3), 255, dtype=torch.uint8)
    prepared = Prepare({"mean": [0.5] * 3, "std": [0.5] * 3}, still(erase=1.0))(pixels)
    assert set(prepared.unique().tolist()) == {0.0, 1.0}


def test_packaged_imagenet_weights_fill_the_whole_backbone(tiny_row):
    settings = model_settings(tiny_row, name="tf_efficientnet_lite0", weights="imagenet")
    (one, normalisation), (other, _) = build(settings), build(settings)
    assert normalisation == {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    states = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    random = {name for (name, tensor), same in states if not torch.equal(tensor, same)}
    assert random == {name for name in one.state_dict() if name.startswith("head.")}


def test_unreachable_weights_say_what_to_download(tiny_row, monkeypatch):
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *args, **options: 1 / 0)  # offline
    message = r"download model.safetensors of timm/convnext_tiny.fb_in1k .* model.weights"
    with pytest.raises(WeightsError, match=message):
        build(model_settings(tiny_row, name="convnext_tiny.fb_in1k", weights="imagenet"))


def test_files_without_fitting_weights_are_one_line(tiny_row, tmp_path):
    for model in ("test_convnext", "test_convnext2"):
        torch.save(timm.create_model(model).state_dict(), tmp_path / f"{model}.pth")
    build(model_settings(tiny_row, weights=f"{tmp_path}/test_convnext.pth"))
    for file, message in (
        ("params.yaml", "model.weights = 'params.yaml': "),
        ("nowhere.safetensors", "model.weights = 'nowhere.safetensors': No such file"),
        (f"{tmp_path}/test_convnext2.pth", "test_convnext2.pth: .*(size mismatch|no tensor)"),
    ):
        with pytest.raises(WeightsError, match=message) as error:
            build(model_settings(tiny_row, weights=file))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone."])
def test_a_dinobloom_checkpoint_loads_into_the_dinov2_of_its_size(tiny_row, tmp_path, prefix):
    """A teacher, prefixes, heads, a mask token, and position embeddings of 224 pixels whatever the images' size."""
    settings = model_settings(tiny_row, name="vit_small_patch14_dinov2", hidden=0)
    torch.manual_seed(0)
    made = {name: torch.randn(tensor.shape) for name, tensor in build(settings, 224)[0].backbone.state_dict().items()}
    teacher = {f"{prefix}{name}": tensor for name, tensor in made.items()} | {
        f"{prefix}mask_token": torch.zeros(1, 384)
    }
    teacher |= {name: torch.zeros(2) for name in ("dino_head.mlp.0.weight", "ibot_head.last_layer.weight_g")}
    settings = settings.model_copy(update={"weights": f"{tmp_path}/DinoBloom-S.pth"})
    torch.save({"teacher": teacher, "iteration": 7}, settings.weights)
    same, smaller = (build(settings, size)[0].backbone.state_dict() for size in (224, 126))
    assert all(torch.equal(tensor, made[name]) for name, tensor in same.items())
    assert {name for name in smaller if not torch.equal(smaller[name], same[name])} == {"pos_embed"}
    assert smaller["pos_embed"].shape == (1, 1 + 9 * 9, 384)
    assert torch.equal(smaller["pos_embed"][:, 0], made["pos_embed"][:, 0])  # of the class token
    del teacher[f"{prefix}norm.weight"]
    torch.save({"teacher": teacher}, settings.weights)
    with pytest.raises(WeightsError, match=r"DinoBloom-S.pth: no tensor 'norm.weight' for this model"):
        build(settings, 224)


FAMILIES = "mobilenetv3_small_050 efficientvit_b0 hgnetv2_b0 test_mambaout hiera_tiny_224 twins_svt_small test_vit"


@pytest.mark.parametrize("name", FAMILIES.split())
def test_every_family_trains_and_has_novelty_and_embeddings(tiny_row, name):
    """Some widen what the backbone returns in their own head, or have other arguments and modules."""
    model, normalisation = build(model_settings(tiny_row, name=name), 64)
    model.train()(torch.zeros(2, 3, 64, 64)).sum().backward()
    pixels = Pixels(np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3)).astype(np.uint8), np.arange(6), CPU)
    part = Part(np.arange(6), pixels, torch.arange(6) % 2)
    reference = fit_reference(model.backbone, normalisation, part, part)
    network = Network(model, {"model": {"name": name}}, normalisation, 64, reference)
    assert np.isfinite(network.novelty(pixels)).all()
    assert network.outputs(pixels)[0].shape == (6, model.head[1].in_features)
    wrong, maps = mistake_maps(network, pixels, np.zeros(6, int), np.eye(13)[np.arange(6) % 2])
    assert len(wrong) == len(maps) in (0, 3)


@pytest.mark.parametrize(("name", "own"), [("inception_v3", 299), ("crossvit_tiny_240", 240), ("halonet26t", 256)])
def test_an_architecture_that_takes_no_such_images_is_refused(tiny_row, name, own):
    settings = model_settings(tiny_row, name=name)
    message = f"^model.name = '{name}' takes no images of 64 pixels: .* = {own} "
    with pytest.raises(WeightsError, match=message) as error:
        check_size(build(settings, 64)[0], name, 64)
    assert len(str(error.value)) < 200
    check_size(build(settings, own)[0], name, own)


@pytest.mark.parametrize(("name", "size"), [("test_convnext", 32), ("vit_tiny_patch16_224", 64)])
def test_a_saved_model_comes_back_the_same_and_in_the_same_bytes(tiny_row, tmp_path, name, size):
    settings = tiny_row.model_copy(update={"model": model_settings(tiny_row, name=name)}).model_dump(exclude_none=True)
    model, normalisation = build(model_settings(tiny_row, name=name), size)
    reference = Reference(np.arange(128, dtype=np.float32).reshape(2, 64), np.eye(64, dtype=np.float32), 3.5, 1)
    network = Network(model, settings, normalisation, size, reference, crop=0.75, temperature=1.25)
    for file in "ab":
        save_model(tmp_path / file, network)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded, images = load_model(tmp_path / "a"), torch.randn(2, 3, size, size)
    assert torch.equal(loaded.model(images), model.eval()(images))
    assert loaded[1:4] + loaded[5:] == (*network[1:4], 0.75, 1.25)
    assert np.array_equal(loaded.reference.means, reference.means)
    assert loaded.reference[2:] == (3.5, 1)
    save_model(tmp_path / "a", network._replace(reference=None))
    assert load_model(tmp_path / "a").reference is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.update(classes=["A", "B"]), "trained for other classes: A, B"),
        (lambda it: it.pop("classes"), "this version cannot read it: 'classes'"),
        (lambda it: it["settings"].pop("model"), "this version cannot read it: 'model'"),
        (lambda it: it["settings"]["augment"].update(fashion=1), "this version cannot read it: .* fashion Extra"),
        (lambda it: it["settings"]["model"].update(name="test_convnext2"), "this version cannot read it: Error"),
        (
            lambda it: it["settings"]["model"].update(name="convnext_tinny"),
            "this version cannot read it: Model architecture",
        ),
        (None, "not a model of this project: weights without its description"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(trained, tmp_path, change, message):
    save_model(tmp_path / "m.safetensors", trained)
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        header = json.loads(file.metadata()["wbc"])
    if change:
        change(header)
    metadata = {"wbc": json.dumps(header)} if change else {}
    save_file(load_file(tmp_path / "m.safetensors"), tmp_path / "m.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match=f"m.safetensors: {message}") as error:
        load_model(tmp_path / "m.safetensors")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("size", [0, 4])
@pytest.mark.parametrize(("device", "resident"), [("cpu", True), ("cpu", False), ("meta", False)])
def test_pixels_are_the_same_from_memory_from_the_file_and_copied_ahead(tmp_path, monkeypatch, device, resident, size):
    """The CPU plays a GPU, which copies the next batch while the current one is used."""
    for name in ("Stream", "current_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, lambda argument: MagicMock())
    for name in ("pin_memory", "to", "record_stream"):
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, *args, **options: tensor)
    packed, read = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8), []
    np.save(tmp_path / "p.npy", packed)
    rows, order = np.array([3, 1, 7, 12]), [[2, 0], [3, 3, 1], [1]]
    pixels = Pixels(np.load(tmp_path / "p.npy", mmap_mode="r"), rows, torch.device(device), resident, size)
    for number, batch in enumerate(pixels.batches(read.append(index) or torch.tensor(index) for index in order)):
        assert len(read) == min(3, number + (2 if device == "meta" else 1))
        expected = packed[rows[order[number]]]
        if size:
            expected = np.floor(expected.reshape(-1, 4, 2, 4, 2, 3).mean((2, 4)) + 0.5)
        np.testing.assert_array_equal(batch, expected)
    assert (number, len(pixels), pixels.size, list(pixels.batches([]))) == (2, 4, size or 8, [])


def test_what_inference_moved_can_be_differentiated(trained, coloured):
    """A heat map of a network that was moved to a GPU to predict needs gradients."""

    class Moved(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def to(self, device):
            self.weight = torch.nn.Parameter(self.weight + 0)
            return self

        def forward(self, images):
            return images.mean((2, 3)) * self.weight

    model = Moved()
    infer(model, Prepare(trained.normalisation), coloured.pixels)
    model(torch.ones(1, 3, 4, 4, requires_grad=True)).sum().backward()


def test_all_parts_together_take_at_most_half_of_the_gpus_memory(monkeypatch):
    """Of 100 bytes that the process may have, 30 of training images fit; another 30 of validation images do not."""
    memory = {"mem_get_info": (100, 120), "memory_reserved": 0, "memory_allocated": 0}
    for name in memory:
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: memory[name])
    assert (fits(50, CPU), fits(51, CPU)) == (True, False)
    memory |= {"mem_get_info": (60, 120), "memory_reserved": 40, "memory_allocated": 30}
    assert (fits(20, CPU), fits(30, CPU)) == (True, False)


def test_the_distance_is_mahalanobis_from_the_nearest_class():
    reference = Reference(np.array([[0.0, 0.0], [10.0, 0.0]]), np.diag([1.0, 4.0]), 0.0)
    assert reference.distance(np.array([[0.0, 3.0], [7.0, 0.0]])).tolist() == pytest.approx([6.0, 3.0])


def test_one_validation_image_in_a_hundred_is_novel_and_noise_is(trained, coloured):
    assert trained.reference.means.shape == (2, 32)  # two classes; test_convnext's second map is an eighth as wide
    noise = Pixels(np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), np.arange(20), CPU)
    assert (trained.novelty(coloured.pixels) > 1).sum() == 1  # of 40
    assert (trained.novelty(noise) > 1).all()


def test_pytorch_and_cublas_are_deterministic(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.use_deterministic_algorithms(False)
    choose_device()
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_model_takes_fewer_images_at_a_time_if_memory_is_short(tiny_row, coloured, monkeypatch):
    model, normalisation = build(tiny_row.model)
    prepare = Prepare(normalisation, tiny_row.augment)
    torch.manual_seed(0)
    expected = infer(model, prepare, coloured.pixels)
    sizes, forward = [], model.forward

    def short(images):
        if len(images) > 12:
            raise torch.OutOfMemoryError("CUDA")
        sizes.append(len(images))
        return forward(images)

    monkeypatch.setattr(model, "forward", short)
    torch.manual_seed(0)
    torch.testing.assert_close(infer(model, prepare, coloured.pixels), expected, rtol=1e-4, atol=1e-5)
    assert sizes == [8] * 5  # 256, halved until it is at most 12
    monkeypatch.setattr(model, "forward", lambda images: short(images.repeat(13, 1, 1, 1)))
    with pytest.raises(InsufficientMemoryError, match=r"out of memory at images.size = 32: lower it"):
        infer(model, prepare, coloured.pixels)
