"""params.yaml → configs/: what is rejected, what each row inherits, and whom a change reaches."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Literal

import pytest
from ruamel.yaml import YAML

from stages import configure
from study import ROOT, set_knob
from wbc.config import ConfigError, Loss, Row, complete, load, load_row, read_yaml, resolve


def changed(params, *edits):
    """Names of the settings files that differ after `edits`, which are (dotted key, value); not `report`, which has
    the settings of all rows."""
    edited = copy.deepcopy(params)
    for key, value in edits:
        *parents, last = key.split(".")
        node = edited
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    before, after = resolve(params), resolve(edited)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} - {"report"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("loss.gamma", "two", "loss.gamma = 'two': should be a valid number"),
        ("loss.gamma", -1, "loss.gamma = -1: should be greater than or equal to 0"),
        ("train.epochs", True, "train.epochs = True: should be a valid integer"),
        ("augment.scale", [1.2, 0.8], "scale must be [low, high]"),
        ("augment.scale", [1.2], "augment.scale = [1.2]: List should have at least 2 items"),
        ("optim.lr_head", float("nan"), "optim.lr_head = nan: should be a finite number"),
        ("features.v2.masks", "luv", "features.v2.masks = 'luv': should be '"),
        ("batch_size", 3, "batch_size = 3: unknown key"),
        (
            "features.v1.masks",
            {"report": "hsv", "sample": "lab"},
            "features.v1.masks = {'report': 'hsv', 'sample': 'la",
        ),
        ("ladder.report", {}, "ladder: row name report is taken"),
        (
            "ladder.final.loss.gamma",
            {"sample": 1},
            "ladder.final.loss.gamma = {'sample': 1}: expected a value for repo",
        ),
        (
            "ladder.final.loss.name",
            "logit_adjusted",
            "ladder.final: loss.name = 'logit_adjusted' needs train.sampler = 'sh",
        ),
        ("augment.stain", -0.1, "augment.stain = -0.1: should be greater than or equal to 0"),
        ("train.ema", 1.0, "train.ema = 1.0: should be less than 1"),
        ("loss.smoothing", 1.0, "loss.smoothing = 1.0: should be less than 1"),
        ("images.crop", 0.0, "images.crop = 0.0: should be greater than 0"),
        ("images.crop", 1.5, "images.crop = 1.5: should be less than or equal to 1"),
        ("images.size.sample", "64px", "images.size = '64px': should be a valid integer"),
        ("ladder.Bad-Name", {}, "should match pattern"),
        ("model", None, "model = None: "),
        ("model.sha256", "00", "model.sha256 = '00': unknown key"),
        ("train.freeze", 16, "train.freeze = 16 should be at most epochs = 10"),
        ("ladder.final.train", {"freeze": 33}, "ladder.final: train.freeze = 33 should be at most epochs = 14"),
        ("ladder.final.images", {"size": 32}, "ladder.final: images = {'size': 32}: unknown key"),
        ("ladder.final.from", "cutmx", "ladder.final.from = 'cutmx': allowed: base, efficientnet, "),
        ("ladder.mixup.from", "final", "ladder.mixup.from = 'final': allowed: base, efficientnet, "),  # further down
        ("ladder.base", {}, "ladder: row name base is taken"),
        ("ladder.final_tta", {}, "ladder: row name final_tta is taken"),
        ("blend", {"rows": [], "features": "v9", "classifier": "lda"}, "blend.features = 'v9': allowed: v1, v2, v3"),
        ("ladder.targets", {}, "ladder: row name targets is taken"),
        ("external.test", {"source": "folder", "path": "elsewhere"}, "external: set name test is taken"),
        (
            "robustness.rows",
            ["efficentnet"],
            "robustness.rows = 'efficentnet': allowed: efficientnet, convnext_cosine, ",
        ),
        ("robustness.rows", ["efficentnet"], "; did you mean 'efficientnet'?"),
        ("robustness.rows", "final", "robustness.rows = 'final': should be a valid list"),
        ("robustness.rows", {"sample": []}, "robustness.rows = {'sample': []}: should be a valid list"),
    ],
)
def test_a_subtler_mistake_is_one_line_naming_key_value_and_choice(params, key, value, message):
    *parents, last = key.split(".")
    node = params
    for parent in parents:
        node = node[parent]
    node[last] = value
    with pytest.raises(ConfigError) as error:
        resolve(params)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_exponents_without_a_point_are_numbers(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1e-4\nb: 3e-05\n")
    assert read_yaml(path) == {"a": 1e-4, "b": 3e-5}


def test_gamma_reaches_exactly_the_rows_that_have_one(params):
    rows = set(params["ladder"])
    assert changed(params, ("loss.gamma", 1.5)) == rows - {"efficientnet", "final", "best"}  # `final` has its own
    assert changed(params, ("ladder.final.loss.gamma", 3.0)) == {"final"}
    assert "gamma" not in resolve(params)["efficientnet"]["loss"]


def test_a_row_that_pins_a_knob_is_not_reached_by_its_base(params):
    params["ladder"]["mine"] = {"from": "final", "loss": {"gamma": 3.0}}
    assert not changed(params, ("loss.gamma", 1.0)) & {"mine", "final"}
    assert changed(params, ("ladder.final.loss.gamma", 1.5)) == {"final"}


@pytest.mark.parametrize(
    ("key", "value", "files"),
    [
        ("images.size", 96, {"images"}),
        ("images.crop", 0.9, {"images"}),
        ("images.size.sample", 96, {"images"}),
        ("images.size.report", 96, set()),
        ("ladder.freeze.train.freeze", 3, {"freeze", "cutmix", "final"}),
        ("data.test_fraction", 0.3, {"data"}),
        ("data.path", "elsewhere", set()),  # the synthetic source has its own folder
        ("grid.implementation", "exact", {"classical", "gridsearch"}),
        ("grid.smote_neighbors", 5, {"gridsearch"}),
        ("schedule.period", 5, {"convnext_restarts", "mixup", "freeze", "cutmix", "final"}),
        ("ladder.mixup.mix.mixup_alpha", 0.2, {"mixup", "freeze", "cutmix", "final"}),
        ("ladder.cutmix.mix.cutmix_alpha", 0.5, {"cutmix", "final"}),
        ("compute.threads", 1, {"compute"}),
    ],
)
def test_a_knob_reaches_its_consumers_only(params, key, value, files):
    assert changed(params, (key, value)) == files


@pytest.mark.parametrize(
    ("repeats", "outer", "said"),
    [
        ([0, 0], 0, "repeats = [0, 0]: one is listed twice"),
        (
            [0],
            5,
            "repeats = [0]: split.outer = 5 tests every image once in the repeats 0 to 4 together",
        ),
        ([3, 4, 5, 6], 3, "repeats = [3, 4, 5, 6]: split.outer = 3 tests every image once in the repeats 6 to 8"),
        ([0], 1, "split.outer = 1 should be 0, or 2 and more: a single fold leaves nothing to train on"),
    ],
)
def test_repeats_that_leave_images_untested_are_refused(params, repeats, outer, said):
    params["repeats"], params["split"]["outer"] = repeats, outer
    with pytest.raises(ConfigError, match=re.escape(said)):
        resolve(params)


def test_a_repeat_is_another_seed(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/mixup.yaml").write_text(json.dumps(resolve(params)["mixup"]))
    first, third = load_row("mixup", 0), load_row("mixup", 2)
    assert (first.seed, third.seed) == (205, 207)
    assert first.model_dump(exclude={"seed"}) == third.model_dump(exclude={"seed"})


def test_a_head_that_learns_once_is_a_row_as_it_was(params):
    assert "retrain" not in resolve(params)["final"]["train"]
    params["train"]["retrain"] = 3
    assert resolve(params)["final"]["train"]["retrain"] == 3
    params["ladder"]["final"]["train"] = {"retrain": 0}
    assert "retrain" not in resolve(params)["final"]["train"]


def test_a_row_stands_on_the_one_above_or_on_what_its_from_names(params):
    params["profile"] = "report"
    rows = resolve(params)
    assert rows["efficientnet"]["model"]["dropout_in"] == 0.4
    assert rows["convnext_cosine"]["model"]["dropout_in"] == 0.0
    assert rows["convnext_cosine"]["train"]["epochs"] == 30
    params["ladder"] |= {"mine": {}, "beside": {"from": "mixup"}, "after": {"tta": {"passes": 1}}}
    resolved = resolve(params)
    assert resolved["mine"] == rows["best"]
    assert resolved["beside"] == rows["mixup"]
    assert resolved["after"] == rows["mixup"] | {"tta": rows["mixup"]["tta"] | {"passes": 1}}


def test_another_model_in_a_middle_row_keeps_what_else_the_row_says(params):
    params["ladder"]["freeze"]["model"]["name"] = "test_efficientnet"
    freeze, cutmix = (resolve(params)[row] for row in ("freeze", "cutmix"))
    assert (cutmix["model"], cutmix["train"]) == (freeze["model"], freeze["train"])
    assert cutmix["model"]["dropout"] == 0.5


@pytest.mark.parametrize(
    ("row", "train", "said"),
    [
        (
            "convnext_cosine",
            {"soup": 1},
            "train.soup = 1 needs schedule.name = 'restarts' and as many whole",
        ),
        ("mixup", {"soup": 4}, "train.soup = 4 needs schedule.name = 'restarts' and as many whole"),
        ("mixup", {"soup": 2, "epochs": 13}, "as many whole cycles in the 13 epochs that"),
        ("final", {"soup": 3, "freeze": 6}, "as many whole cycles in the 8 epochs that"),
        ("mixup", {"soup": 2, "ema": 0.9}, "train.soup = 2 goes with neither train.ema nor train.retrain"),
    ],
)
def test_a_soup_is_of_whole_cycles(params, row, train, said):
    params["ladder"]["mine"] = {"from": row, "train": {"soup": 0}}
    assert "soup" not in resolve(params)["mine"]["train"]
    params["ladder"]["mine"] = {"from": "final", "train": {"soup": 3}}  # 14 epochs, of which 2 are frozen
    assert resolve(params)["mine"]["train"]["soup"] == 3
    params["ladder"]["mine"] = {"from": row, "train": train}
    with pytest.raises(ConfigError, match=re.escape(said)):
        resolve(params)


def test_table_5_is_the_studys_last_row_whatever_rows_follow(params):
    params["ladder"]["mine"] = {"augment": {"flip": 0.25}}
    assert resolve(params)["report"]["augment"]["flip"] == 0.5
    del params["ladder"]["final"]
    params["robustness"]["rows"] = []
    assert resolve(params)["report"]["augment"] is None


# --- what only the disk knows


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of its own, with the weights that are in git."""
    shutil.copytree(ROOT / "data/weights", tmp_path / "data/weights")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def resolved(params, folder):
    return resolve(params)


MODELS = ("tf_efficientnet_lite0", "test_convnext3")


def test_another_file_under_the_same_path_is_another_setting(resolved, params):
    params["ladder"]["mine"] = {"model": {"weights": "data/weights/mine.pth"}}
    found = []
    for content in (b"1", b"2", b"1"):
        Path("data/weights/mine.pth").write_bytes(content)
        resolved = resolve(params)
        complete(resolved, MODELS)
        Row(**resolved["mine"])
        found.append(resolved["mine"])
        assert "sha256" not in resolved["efficientnet"]["model"]
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(
    ("row", "key", "value", "message"),
    [
        ("final", "weights", "data/weights/x.pth", "final: model.weights = 'data/weights/x.pth': no such file"),
        ("final", "weights", "x.pth", "final: model.weights = 'x.pth': should be a file in data/weights/"),
        ("final", "name", "convnext_tiyn", "timm has no such model; did you mean 'convnext_tiny'?"),
        ("final", "name", "convnext_tiny.fb_in2k", "timm has no such model; did you mean 'convnext_tiny.fb_in22k'?"),
        ("data", "path", "data/raw", "data.path = 'data/raw': no such folder; "),
    ],
)
def test_what_is_not_there_is_one_line(resolved, row, key, value, message):
    Path("x.pth").touch()
    resolved[row]["model" if row == "final" else row][key] = value
    resolved["data"]["data"]["source"] = "folder" if row == "data" else "synthetic"
    with pytest.raises(ConfigError) as error:
        complete(resolved, MODELS)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_new_row_is_told_what_it_resembles_and_an_old_one_is_not(params, folder, capsys):
    messages = []
    for rows in ([], ["fnal", "mine"], []):
        params["ladder"] |= {row: {"tta": {"passes": 2}} for row in rows}
        Path("params.yaml").write_text(json.dumps(params))
        configure.main()
        messages.append([line.strip() for line in capsys.readouterr().out.splitlines() if "resembles" in line])
    assert messages == [[], ["ladder.fnal is a new row, whose name resembles 'final'"], []]


def test_the_names_in_the_schema_are_those_of_the_tables():
    from wbc.train.losses import CLASS_WEIGHTS, LOSSES

    for field, table in (("name", LOSSES), ("class_weights", CLASS_WEIGHTS)):
        assert Loss.model_fields[field].annotation == Literal[tuple(table)]


def test_the_report_profile_holds_the_reports_numbers(params):
    params["profile"] = "report"
    resolved = resolve(params)
    b3, tiny = resolved["efficientnet"], resolved["convnext_restarts"]
    assert (b3["train"]["epochs"], b3["augment"]["rotation"], b3["loss"]["name"]) == (15, 15, "cross_entropy")
    assert (tiny["schedule"], tiny["train"]["epochs"]) == ({"name": "restarts", "period": 15, "floor": 0.0}, 60)
    assert (tiny["optim"]["lr_backbone"], tiny["optim"]["lr_head"], tiny["optim"]["weight_decay"]) == (1e-4, 1e-3, 5e-4)
    assert (tiny["tta"]["passes"], tiny["tta"]["temperature"]) == (8, 0.8)
    assert [resolved[row]["mix"]["mixup_alpha"] for row in ("convnext_restarts", "mixup", "final")] == [0.0, 0.4, 0.4]
    assert [resolved[row]["mix"]["cutmix_alpha"] > 0 for row in ("mixup", "freeze", "cutmix", "final")] == [0, 0, 1, 1]
    freeze, final = resolved["freeze"], resolved["final"]
    assert (freeze["train"]["freeze"], freeze["train"]["validation"], freeze["model"]["dropout"]) == (5, 0.2, 0.5)
    assert (freeze["optim"]["lr_backbone"], freeze["optim"]["weight_decay"]) == (5e-5, 5e-4)
    assert (final["optim"]["lr_backbone"], final["optim"]["weight_decay"]) == (5e-5, 1e-2)
    assert final["loss"] == {"name": "focal", "gamma": 1.0, "smoothing": 0.0, "class_weights": "inverse_sqrt"}
    assert freeze["loss"] == {"name": "focal", "gamma": 2.0, "smoothing": 0.0, "class_weights": "log_dampened"}
    assert (resolved["gridsearch"]["n_estimators"], resolved["gridsearch"]["max_depth"]) == ([100, 200, 300], [3, 5, 7])


def test_the_synthetic_source_never_reads_the_users_folder(params):
    assert resolve(params)["data"]["data"]["path"] == "data/synthetic"
    params["data"]["source"] = "folder"
    assert resolve(params)["data"]["data"]["path"] == "data/raw"


@pytest.mark.parametrize("profile", ["report", "sample"])
def test_a_knob_set_once_acts_in_every_profile(params, profile):
    """Each knob that has a value for each profile, and each without."""

    def leaves(node, path=()):
        for key, value in node.items():
            if isinstance(value, dict) and "report" not in value:
                yield from leaves(value, (*path, key))
            else:
                yield node, key

    params["profile"] = profile
    for node, key in leaves({name: params[name] for name in params.keys() - {"profile", "features", "data"}}):
        value = node[key]
        node[key] = value["report" if profile == "sample" else "sample"] if isinstance(value, dict) else value
        other = resolve(params)
        node[key] = value
        assert (other != resolve(params)) == isinstance(value, dict), key


def test_what_acts_nowhere_is_said(params, folder, capsys):
    messages = []
    for change in ("seed=205", "images.size.report=96", "features.v1.masks=lab", "loss.gamma=1.5"):
        set_knob(params, change)
        Path("params.yaml").write_text(json.dumps(params))
        configure.main()
        messages.append(capsys.readouterr().out.split("; ")[1].strip())
    files = "convnext_cosine, convnext_restarts, cutmix, freeze, mixup, report"
    assert messages[1:] == ["none changed", "classical, external, report changed", f"{files} changed"]


def test_a_resolved_file_loads_as_it_was_resolved(params, tmp_path):
    values = resolve(params)["efficientnet"]
    with (tmp_path / "row.yaml").open("w") as file:
        YAML().dump(values, file)
    assert load(tmp_path / "row.yaml").model_dump(exclude_none=True) == values
    (tmp_path / "row.yaml").write_text("seed: x\n")
    with pytest.raises(ConfigError, match=r"row.yaml: seed = 'x'"):
        load(tmp_path / "row.yaml")


def test_focal_loss_and_restarts_need_their_numbers(params):
    broken = copy.deepcopy(params)
    del broken["loss"]["gamma"]
    with pytest.raises(ConfigError, match=r"loss\.gamma is missing"):
        resolve(broken)
    adjusting = copy.deepcopy(params)
    adjusting["ladder"]["mine"] = {"loss": {"name": "logit_adjusted"}, "train": {"sampler": "shuffle"}}
    assert resolve(adjusting)["mine"]["loss"]["tau"] == 1.0
    del adjusting["loss"]["tau"]
    with pytest.raises(ConfigError, match=r"ladder.mine: loss\.tau is missing"):
        resolve(adjusting)
    del params["schedule"]["period"]
    with pytest.raises(ConfigError, match=r"schedule\.period is missing"):
        resolve(params)
