"""params.yaml → settings/: what is rejected, what each row inherits, and which files a change reaches."""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest

from stages import configure
from stages.__main__ import main
from study import ROOT, set_knob, write_settings
from wbc.config.files import LEFT_OUT, ConfigError, dumped, load, read_yaml
from wbc.config.resolve import complete, resolve

MODELS = ("tf_efficientnet_lite0", "test_convnext3")


def changed(params, *changes):
    """Names of the settings files that differ after `changes`, in the notation of `dvc exp run -S`."""
    before, edited = resolve(params), copy.deepcopy(params)
    for change in changes:
        set_knob(edited, change)
    after = resolve(edited)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("profile=smaple", "profile = 'smaple': allowed: report, sample, laptop; did you mean 'sample'?"),
        ("images.size={report: 224, smaple: 32}", "images.size = {'report': 224, 'smaple': 32}: "),
        ("ladder={}", "ladder = {}: Dictionary should have at least 1 item"),
        ("train.epochs=true", "train.epochs = True: should be a valid integer"),
        ("augment.scale=[1.2, 0.8]", "augment.scale = [1.2, 0.8]: should be [low, high]"),
        ("augment.erase_scale=[0.2, 1.2]", "augment.erase_scale.1 = 1.2: should be less than or equal to 1"),
        ("optim.lr_head=.nan", "optim.lr_head = nan: should be a finite number"),
        ("model=null", "model = None: "),
        ("+model.sha256='00'", "model.sha256 = '00': unknown key; allowed: name, "),
        (
            "+loss.gama=1",
            "loss.gama = 1: unknown key; allowed: name, gamma, class_weights; did you mean",
        ),
        ("+ladder.Bad-Name={}", "should match pattern"),
        ("+ladder.base={}", "ladder.base: this name is taken"),
        (
            "ladder.final.loss.gamma={sample: 1}",
            "ladder.final.loss.gamma = {'sample': 1}: values by profile need report",
        ),
        ("+ladder.final.train={freeze: 33}", "ladder.final: train.freeze = 33 should be at most epochs = 14"),
        ("+ladder.mixup.from=final", "ladder.mixup.from = 'final': allowed: base, efficientnet, "),  # further down
        ("blend.row=efficentnet", "blend.row = 'efficentnet': allowed: efficientnet, convnext_cosine, "),
        ("robustness.rows=[efficentnet]", "; did you mean 'efficientnet'?"),
        ("split.outer=5", "repeats = [0]: split.outer = 5 needs all from 0 to 4"),
        ("split.tail=-1", "split.tail = -1: should be greater than or equal to 0"),
        ("split={folds: 5, outer: 2, tail: 0.1}", "split.tail = 0.1: needs split.outer = 0"),
        ("+ladder.a={from: final, model: {size: 65}}", "ladder.a: model.size = 65 should be at most images.size = 64"),
        ("split.outer=1", "split.outer = 1: should be 0, or 2 and more"),
        ("schedule.period=null", "ladder.convnext_restarts: schedule.period is missing"),
    ],
)
def test_a_mistake_is_one_line_naming_key_value_and_choice(params, change, message):
    set_knob(params, change)
    with pytest.raises(ConfigError) as error:
        resolve(params)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_exponents_without_a_point_are_numbers(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1e-4\nb: 3e-05\n")
    assert read_yaml(path) == {"a": 1e-4, "b": 3e-5}


@pytest.mark.parametrize("change", ["images.size.report=96", "data.path=elsewhere", "seed=205"])
def test_a_change_that_acts_nowhere_changes_no_file(params, change):
    """Each its own kind: another profile, another source, the same value."""
    assert not changed(params, change)


def test_equal_settings_are_equal_bytes(params):
    """Without YAML's anchors, which a value that stands in two places would have."""
    params["ladder"]["mine"] = {"from": "final", "augment": {"scale": [0.9, 1.0], "erase_scale": [0.9, 1.0]}}
    shared = copy.deepcopy(params)
    shared["ladder"]["mine"]["augment"]["erase_scale"] = shared["ladder"]["mine"]["augment"]["scale"]
    shared["loss"] |= {"gamma": 2}  # an integer in place of 2.0
    texts = [{name: dumped(values) for name, values in resolve(each).items()} for each in (params, shared)]
    assert texts[0] == texts[1]
    assert not [name for name, text in texts[1].items() if re.search(r"[&*]id\d", text)]


def test_rows_names_those_that_run(params):
    whole = resolve(params)
    params["rows"] = ["tuned"]
    chosen = resolve(params)
    for row in params["ladder"]:
        assert chosen[f"train/{row}"] == (whole["train/tuned"] if row == "tuned" else LEFT_OUT)
    assert chosen["blend"] == whole["blend"]
    assert [chosen["report"][key] for key in ("robust", "augment")] == [[], None]
    assert list(chosen["report"]["networks"]) == ["tuned"]
    assert whole["report"]["augment"] == whole["train/final"]["augment"]  # Table 5 is of the report's last row
    assert not changed(params, "loss.gamma=1.5")  # it acts in rows left out alone
    # the row that it starts from was not run, so that all of its settings are listed
    assert (
        chosen["report"]["ladder"]["tuned"].items() >= {"from": "base", "model": whole["train/tuned"]["model"]}.items()
    )
    params["rows"] = ["efficientnet", "tuned"]
    assert resolve(params)["report"]["ladder"]["tuned"] == whole["report"]["ladder"]["tuned"]
    params["rows"] = ["final"]
    assert resolve(params)["blend"] == LEFT_OUT
    assert not resolve(params)["report"]["blend"]["made"]


@pytest.mark.parametrize(("rows", "left_out"), [(["tuned"], "final"), (["final"], "tuned")])
def test_a_run_that_is_left_out_writes_notes_alone(params, tmp_path, monkeypatch, rows, left_out):
    monkeypatch.chdir(tmp_path)
    params["rows"] = rows
    write_settings(params)
    for stage in ("train", "predict", "embed", "robustness"):
        main(stage, left_out, "0")
    if left_out == "tuned":
        main("blend", "0")
    written = {str(path.relative_to("runs")): path.read_text() for path in Path("runs").rglob("*.*")}
    folders = [f"{left_out}-0/{name}/" for name in ("train", "predict", "embed", "robustness", "live/plots/metrics")]
    notes = {f"{folder}left_out.csv" for folder in folders} | (
        {"best-0/left_out.csv"} if left_out == "tuned" else set()
    )
    metrics = {f"{left_out}-0/{name}.json" for name in ("train", "robustness")}
    assert written == dict.fromkeys(notes, "step,left_out\n") | dict.fromkeys(metrics, "{}\n")


def test_a_file_loads_as_it_was_resolved_and_a_repeat_is_another_seed(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_settings(params, "train")
    values = resolve(params)["train/mixup"]
    assert vars(load("train/mixup")) == values
    assert vars(load("train/mixup", 2)) == values | {"seed": 207}
    with pytest.raises(ConfigError, match=r"settings/train/mine\.yaml: no such file"):
        load("train/mine")


def test_settings_that_do_not_act_in_a_row_are_left_out(params):
    params["ladder"] |= {"a": {"from": "final"}, "b": {"loss": {"name": "cross_entropy"}, "train": {"retrain": 3}}}
    params["ladder"]["c"] = {"train": {"retrain": 0}, "schedule": {"name": "cosine"}}
    acting = {"a": {"gamma", "period"}, "b": {"period", "retrain"}, "c": set()}
    for row, expected in acting.items():
        settings = resolve(params)[f"train/{row}"]
        found = settings["loss"].keys() | settings["schedule"].keys() | settings["train"].keys()
        assert found & {"gamma", "period", "retrain"} == expected


def test_a_row_stands_on_the_one_above_or_on_what_its_from_names(params):
    params["ladder"] |= {"mine": {}, "beside": {"from": "mixup"}, "after": {"optim": {"weight_decay": 1}}}
    rows = {name.removeprefix("train/"): values for name, values in resolve(params).items() if name[:6] == "train/"}
    assert rows["efficientnet"]["model"]["dropout_in"] == 0.4
    assert rows["convnext_cosine"]["model"]["dropout_in"] == 0.0
    assert rows["mine"] == rows["tuned"]
    assert rows["beside"] == rows["mixup"]
    assert rows["after"] == rows["mixup"] | {"optim": rows["mixup"]["optim"] | {"weight_decay": 1.0}}


@pytest.mark.parametrize("profile", ["report", "sample"])
def test_a_knob_set_once_acts_in_every_profile(params, profile):
    """Each knob that has a value for each profile."""

    def leaves(node):
        for key, value in node.items():
            if isinstance(value, dict) and "report" in value:
                yield node, key
            elif isinstance(value, dict):
                yield from leaves(value)

    params["profile"] = profile
    before, found = resolve(params), list(leaves({name: params[name] for name in params.keys() - {"data"}}))
    for node, key in found:
        value = node[key]
        node[key] = value["report" if profile == "sample" else "sample"]
        assert resolve(params) != before, key
        node[key] = value
    assert len(found) > 20


def test_the_report_profile_holds_the_reports_numbers(params):
    params["profile"] = "report"
    resolved = resolve(params)
    assert (resolved["gridsearch"]["n_estimators"], resolved["gridsearch"]["max_depth"]) == ([100, 200, 300], [3, 5, 7])
    assert resolved["predict"]["tta"] == {"passes": 8, "temperature": 0.8}
    expected = {
        ("efficientnet", "train"): {"epochs": 15},
        ("efficientnet", "loss"): {"name": "cross_entropy", "class_weights": "log_dampened"},
        ("convnext_cosine", "train"): {"epochs": 30},
        ("convnext_restarts", "train"): {"epochs": 60, "freeze": 0},
        ("convnext_restarts", "schedule"): {"name": "restarts", "period": 15},
        ("convnext_restarts", "optim"): {"lr_backbone": 1e-4, "lr_head": 1e-3, "weight_decay": 5e-4},
        ("mixup", "mix"): {"mixup_alpha": 0.4, "cutmix_alpha": 0.0},
        ("freeze", "train"): {"freeze": 5, "validation": 0.2},
        ("freeze", "loss"): {"name": "focal", "gamma": 2.0, "class_weights": "log_dampened"},
        ("final", "mix"): {"mixup_alpha": 0.4, "cutmix_alpha": 1.0},
        ("final", "optim"): {"lr_backbone": 5e-5, "weight_decay": 1e-2},
        ("final", "loss"): {"name": "focal", "gamma": 1.0, "class_weights": "inverse_sqrt"},
    }
    for (row, group), values in expected.items():
        assert resolved[f"train/{row}"][group].items() >= values.items(), row


# --- what depends on the disk


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of its own, with the weights that are in git."""
    shutil.copytree(ROOT / "data/weights", tmp_path / "data/weights")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("+ladder.a.model.weights=data/weights/x.pth", "a: model.weights = 'data/weights/x.pth': no such file"),
        ("+ladder.a.model.weights=x.pth", "a: model.weights = 'x.pth': should be a file in data/weights/"),
        ("+ladder.a.model.name=convnext_tiyn", "timm has no such model; did you mean 'convnext_tiny'?"),
        ("+ladder.a.model.name=convnext_tiny.fb_in2k", "did you mean 'convnext_tiny.fb_in22k'?"),
        ("data.source=folder", "data.path = 'data/raw': no such folder; "),
        ("+external.far={source: folder, path: x}", "external.far.path = 'x': no such folder; "),
    ],
)
def test_what_is_not_there_is_one_line(params, folder, change, message):
    Path("x.pth").touch()
    set_knob(params, change)
    with pytest.raises(ConfigError) as error:
        complete(resolve(params), MODELS)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    params["rows"] = ["tuned"]  # nobody needs the weights of a row that is left out
    if "ladder" in change:
        complete(resolve(params), MODELS)


def test_configure_says_how_many_files_changed_and_which_new_row_resembles_another(params, folder, capsys):
    def says():
        Path("params.yaml").write_text(json.dumps(params))
        configure.main()
        return capsys.readouterr().out, {path: path.read_bytes() for path in Path("settings").rglob("*.yaml")}

    files = len(resolve(params))
    assert f"{files} settings files in settings/, {files} changed" in says()[0]
    for change, count in (("images.size.report=96", 0), ("features.v1.masks=lab", 3), ("loss.gamma=1.5", 6)):
        set_knob(params, change)
        assert f", {count} changed" in says()[0]
    written = says()[1]
    params["ladder"]["fnal"] = {"optim": {"weight_decay": 2}}
    assert "ladder.fnal is a new row, whose name resembles 'final'\nprofile" in says()[0]
    del params["ladder"]["fnal"]
    output, files = says()
    assert "resembles" not in output
    assert files == written  # the row's file is gone
