"""A network without learning: its input, its weights and files, inference, and how usual an image is to it."""

import os

import numpy as np
import pytest
import torch
from skimage.color import combine_stains, hed_from_rgb, rgb_from_hed, separate_stains

from settings import STILL
from wbc.network.explain import mistake_maps
from wbc.network.inference import InsufficientMemoryError, choose_device, infer
from wbc.network.model import Network, WeightsError, build, load_model, save_model
from wbc.network.pixels import Part, Pixels, fits
from wbc.network.prepare import Prepare, StainJitter
from wbc.network.reference import channel_means, fit_reference
from wbc.scoring.novelty import Reference
from wbc.train import engine

CPU = torch.device("cpu")
NONE = {"mean": [0.0] * 3, "std": [1.0] * 3}


# --- augmentation


def test_without_augmentation_pixels_are_scaled_and_normalised_only():
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    prepared = Prepare({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]})(pixels)
    by_hand = (pixels.numpy() / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(prepared.permute(0, 2, 3, 1), by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(Prepare(NONE, STILL)(pixels), Prepare(NONE)(pixels), atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"flip": 0.5},
        {"rotation": 180.0},
        {"translate": 0.2},
        {"scale": [0.5, 1.5]},
        {"brightness": 0.5},
        {"contrast": 0.5},
        {"saturation": 0.9},
        {"stain": 0.2},
        {"erase": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_augmentation_is_drawn_for_each_image(change):
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 16, 16, 3), dtype=torch.uint8)
    prepared = Prepare(NONE, STILL.model_copy(update=change))(image.repeat(16, 1, 1, 1))
    assert len({tuple(p.flatten().tolist()) for p in prepared}) > 3  # flips make four kinds, the others more


def test_random_draws_stay_on_the_cpu_wherever_the_images_are():
    """And with them their bits: another device's generator draws other numbers, and waits for its queue."""
    prepare = Prepare(NONE, STILL.model_copy(update={"flip": 0.5, "stain": 0.1, "brightness": 0.5, "erase": 0.5})).to(
        "meta"
    )
    assert prepare.mean.device.type == "meta"
    random = [*prepare.augment, *prepare.erase]
    assert len(random) == 6
    assert {change.device.type for change in random} == {"cpu"}
    assert {t.device.type for change in random for t in change.forward_parameters((2, 3, 8, 8)).values()} == {"cpu"}


def test_stains_change_as_scikit_image_takes_them_apart():
    """s' = α s + β of each (Tellez et al. 2018); its stains are in units of -log(1e-6) of optical density."""
    unit, rng = -np.log(1e-6), np.random.default_rng(0)
    images = np.stack([combine_stains(rng.uniform(0.01, 0.05, (8, 8, 3)), rgb_from_hed) for _ in range(4)])
    jitter = StainJitter(0.2)
    torch.manual_seed(0)
    drawn = jitter.forward_parameters((4, 3, 8, 8))
    torch.manual_seed(0)
    changed = jitter(torch.from_numpy(images).float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    for image, result, alpha, beta in zip(
        images, changed, *(drawn[name].numpy() for name in ("alpha", "beta")), strict=True
    ):
        stains = separate_stains(image, hed_from_rgb) * alpha + beta / unit
        np.testing.assert_allclose(result, combine_stains(stains, rgb_from_hed), atol=1e-5)
    alpha, beta = (each.numpy() for each in jitter.forward_parameters((4000, 3, 8, 8)).values())
    for values, middle in ((alpha, 1), (beta, 0)):
        assert (values.min(), values.max()) == pytest.approx((middle - 0.2, middle + 0.2), abs=0.001)


def test_an_erased_patch_holds_the_mean_colour():
    torch.manual_seed(0)
    pixels = torch.full((4, 16, 16, 3), 255, dtype=torch.uint8)
    always = STILL.model_copy(update={"erase": 1.0})
    prepared = Prepare({"mean": [0.5] * 3, "std": [0.5] * 3}, always)(pixels)
    assert set(prepared.unique().tolist()) == {0.0, 1.0}
    assert set(Prepare(NONE, always, erase=False)(pixels).unique().tolist()) == {1.0}


# --- model


def test_the_packages_imagenet_weights_fill_the_whole_backbone(tiny_row):
    settings = tiny_row.model.model_copy(update={"name": "tf_efficientnet_lite0", "weights": "imagenet"})
    torch.manual_seed(0)
    first, normalisation = build(settings)
    torch.manual_seed(1)
    second, _ = build(settings)
    assert normalisation == {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    assert all(
        torch.equal(a, b) for a, b in zip(*(m.backbone.state_dict().values() for m in (first, second)), strict=True)
    )
    assert not torch.equal(first.head[1].weight, second.head[1].weight)


def test_unreachable_weights_say_what_to_fetch(tiny_row, monkeypatch):
    real = engine.build.__globals__["timm"].create_model

    def offline(*args, pretrained=False, **kwargs):
        if pretrained:
            raise ConnectionError("no route to host")
        return real(*args, **kwargs)

    monkeypatch.setattr("timm.create_model", offline)
    settings = tiny_row.model.model_copy(update={"name": "convnext_tiny.fb_in1k", "weights": "imagenet"})
    with pytest.raises(
        WeightsError, match=r"download model.safetensors of timm/convnext_tiny.fb_in1k .* model.weights"
    ):
        build(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "convnext_tinny"}, "model.name = 'convnext_tinny'"),
        ({"weights": "nowhere.safetensors"}, "no such file"),
        ({"weights": "params.yaml"}, "model.weights = 'params.yaml'"),
    ],
)
def test_wrong_names_and_files_are_one_line(tiny_row, change, message):
    with pytest.raises(WeightsError, match=message) as error:
        build(tiny_row.model.model_copy(update=change))
    assert "\n" not in str(error.value)


def test_a_transformer_takes_the_size_of_its_images(tiny_row, tmp_path):
    settings = tiny_row.model.model_copy(update={"name": "vit_tiny_patch16_224"})
    model, normalisation = build(settings, 64)
    x = torch.randn(1, 3, 64, 64)
    known = Reference(torch.randn(2, 192), torch.eye(192), 3.5)
    values = tiny_row.model_dump(exclude_none=True) | {"model": settings.model_dump(exclude_none=True)}
    save_model(tmp_path / "vit", Network(model, values, normalisation, 64, known))
    assert torch.equal(load_model(tmp_path / "vit").model(x), model.eval()(x))


FAMILIES = "mobilenetv3_small_050 efficientvit_b0 hgnetv2_b0 test_mambaout hiera_tiny_224 twins_svt_small test_vit"


@pytest.mark.parametrize("name", FAMILIES.split())
def test_every_family_trains_and_is_known_and_explained_or_not(tiny_row, name):
    """Their own heads widen what the backbone returns, or timm names other arguments and modules in them."""
    settings = tiny_row.model.model_copy(update={"name": name})
    model, normalisation = build(settings, 64)
    model.train()(torch.zeros(2, 3, 64, 64)).sum().backward()
    pixels = Pixels(np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3)).astype(np.uint8), np.arange(6), CPU)
    part = Part(np.arange(6), pixels, torch.arange(6) % 2)
    known = fit_reference(model.backbone, normalisation, part, part)
    trained = Network(model, {"model": {"name": name}}, normalisation, 64, known)
    assert np.isfinite(trained.novelty(pixels)).all()
    embeddings, _ = trained.outputs(pixels)
    assert embeddings.shape == (6, model.head[1].in_features)
    wrong, heats = mistake_maps(trained, pixels, np.zeros(6, int), np.arange(6) % 2)
    assert len(wrong) == len(heats) in (0, 3)


@pytest.mark.parametrize(("name", "own"), [("inception_v3", 299), ("crossvit_tiny_240", 240), ("halonet26t", 256)])
def test_an_architecture_that_takes_no_such_images_is_refused_before_it_trains(tiny_row, name, own):
    settings = tiny_row.model.model_copy(update={"name": name})
    with pytest.raises(
        WeightsError, match=f"^model.name = '{name}' takes no images of 64 pixels: .* = {own} "
    ) as error:
        build(settings, 64)
    assert len(str(error.value)) < 200
    build(settings, own)


def test_weights_of_another_model_do_not_load(tiny_row, tmp_path):
    import timm

    path = tmp_path / "w.pth"
    torch.save(timm.create_model("test_convnext2").state_dict(), path)
    with pytest.raises(WeightsError, match=r"another shape|no tensor"):
        build(tiny_row.model.model_copy(update={"weights": str(path)}))
    torch.save(timm.create_model("test_convnext").state_dict(), path)
    build(tiny_row.model.model_copy(update={"weights": str(path)}))


@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone."])
def test_a_dinobloom_checkpoint_loads_into_the_dinov2_of_its_size(tiny_row, tmp_path, prefix):
    """Teacher, prefixes, heads, a mask token, and position embeddings of 224 pixels whatever the images' size."""
    settings = tiny_row.model.model_copy(
        update={"name": "vit_small_patch14_dinov2", "weights": str(tmp_path / "DinoBloom-S.pth"), "hidden": 0}
    )
    torch.manual_seed(0)
    made = {name: torch.randn(tensor.shape) for name, tensor in build_random(settings).state_dict().items()}
    assert made["pos_embed"].shape == (1, 257, 384)
    held = {f"{prefix}{name}": tensor for name, tensor in made.items()} | {f"{prefix}mask_token": torch.zeros(1, 384)}
    held |= {name: torch.zeros(2) for name in ("dino_head.mlp.0.weight", "ibot_head.last_layer.weight_g")}
    torch.save({"teacher": held, "iteration": 7}, settings.weights)
    same = build(settings, 224)[0].backbone.state_dict()
    assert all(torch.equal(tensor, made[name]) for name, tensor in same.items())
    model, normalisation = build(settings, 126)
    smaller = model.backbone.state_dict()
    assert {name for name in smaller if not torch.equal(smaller[name], same[name])} == {"pos_embed"}
    assert smaller["pos_embed"].shape == (1, 1 + 9 * 9, 384)
    assert torch.equal(smaller["pos_embed"][:, 0], made["pos_embed"][:, 0])  # the class token's
    assert normalisation == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    del held[f"{prefix}norm.weight"]
    torch.save({"teacher": held}, settings.weights)
    with pytest.raises(WeightsError, match=r"DinoBloom-S.pth: no tensor 'norm.weight' for this model"):
        build(settings, 224)


def build_random(settings):
    return build(settings.model_copy(update={"weights": "none"}), 224)[0].backbone


def test_a_saved_model_comes_back_the_same_and_in_the_same_bytes(tiny_row, tmp_path):
    model, normalisation = build(tiny_row.model)
    known = Reference(np.arange(128, dtype=np.float32).reshape(2, 64), np.eye(64, dtype=np.float32), 3.5, 1)
    trained = Network(model, tiny_row.model_dump(exclude_none=True), normalisation, 32, known, temperature=1.25)
    for name in "ab":
        save_model(tmp_path / name, trained)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = load_model(tmp_path / "a")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(x), model.eval()(x))
    assert (loaded[1:4], loaded.temperature) == (trained[1:4], 1.25)
    assert np.array_equal(loaded.reference.means, known.means)
    assert loaded.reference[2:] == (3.5, 1)
    save_model(tmp_path / "a", trained._replace(reference=None))
    assert load_model(tmp_path / "a").reference is None
    (tmp_path / "c").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="not a model of this project"):
        load_model(tmp_path / "c")


# --- pixels


def test_pixels_are_the_same_from_memory_and_from_the_file(tmp_path):
    packed = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "p.npy", packed)
    rows, order = np.array([3, 1, 7, 12]), [torch.tensor([2, 0]), torch.tensor([3, 3, 1])]
    for resident in (False, True):
        pixels = Pixels(np.load(tmp_path / "p.npy", mmap_mode="r"), rows, CPU, resident)
        first, second = pixels.batches(order)
        np.testing.assert_array_equal(first, packed[[7, 3]])
        np.testing.assert_array_equal(second, packed[[12, 12, 1]])
        assert (len(pixels), pixels.size) == (4, 8)


def test_all_parts_together_take_at_most_half_of_the_gpus_memory(monkeypatch):
    """Of 100 bytes that the process may have: 30 of training images fit, another 30 of validation images do not."""
    held = {"mem_get_info": (100, 120), "memory_reserved": 0, "memory_allocated": 0}
    for name in held:
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: held[name])
    assert fits(50, CPU)
    assert not fits(51, CPU)
    held |= {"mem_get_info": (60, 120), "memory_reserved": 40, "memory_allocated": 30}
    assert fits(20, CPU)
    assert not fits(30, CPU)


# --- how usual an image is


def test_the_distance_is_mahalanobis_from_the_nearest_class():
    known = Reference(np.array([[0.0, 0.0], [10.0, 0.0]]), np.diag([1.0, 4.0]), 0.0)
    points = np.array([[0.0, 3.0], [7.0, 0.0]])
    assert known.distance(points).tolist() == pytest.approx([6.0, 3.0])


def test_one_validation_image_in_a_hundred_is_unusual_and_noise_is(tiny_row, coloured):
    model, normalisation = build(tiny_row.model)
    known = fit_reference(model.backbone, normalisation, coloured, coloured)
    assert known.means.shape == (2, 32)  # of the classes there are; test_convnext's second map is an eighth as wide
    noise = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    distances = [
        known.distance(channel_means(model.backbone, normalisation, pixels, known.layer).numpy())
        for pixels in (coloured.pixels, Pixels(noise, np.arange(20), CPU))
    ]
    assert (distances[0] > known.threshold).sum() == 1  # of 40
    assert (distances[1] > known.threshold).all()


# --- inference


def test_where_torch_is_made_deterministic_cublas_is_too(monkeypatch):
    """Whether a stage, `python -m wbc classify` or a notebook asks for the device."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.are_deterministic_algorithms_enabled()
    try:
        choose_device()
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(before)


def test_a_model_sees_fewer_images_at_a_time_where_memory_is_short(tiny_row, coloured, monkeypatch):
    model, normalisation = build(tiny_row.model)
    prepare = Prepare(normalisation, tiny_row.augment)
    torch.manual_seed(0)
    expected = infer(model, prepare, coloured.pixels)
    sizes, real = [], model.forward

    def short(images):
        if len(images) > 12:
            raise torch.OutOfMemoryError("CUDA")
        sizes.append(len(images))
        return real(images)

    monkeypatch.setattr(model, "forward", short)
    torch.manual_seed(0)
    torch.testing.assert_close(infer(model, prepare, coloured.pixels), expected, rtol=1e-4, atol=1e-5)
    assert sizes == [8] * 5  # of 40; half of 256, and so on
    monkeypatch.setattr(model, "forward", lambda images: short(images.repeat(13, 1, 1, 1)))
    with pytest.raises(InsufficientMemoryError, match=r"out of memory at images.size = 32: lower it"):
        infer(model, prepare, coloured.pixels)
