"""Validate `params.yaml` and resolve it into the settings file of each stage.

`resolve` chooses the profile's values, accumulates the ladder and leaves out settings that have no effect on a stage.
An unchanged file thus means unchanged behaviour: DVC reruns exactly the rows whose effective settings changed.
`complete` checks what depends on the disk.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from wbc.config.files import BASE, BEST, LEFT_OUT, STUDY, WEIGHTS, ConfigError
from wbc.config.schema import METHODS, PROFILES, Params, RowKnobs, check_choice, hint, validate

# Groups that dvc.yaml reads too. It knows no profile, so they have no values by profile
READ_BY_DVC = ("blend", "external", "features", "repeats", "robustness", "rows")
FINAL = "final"  # the report's last row, whose augmentation its Table 5 lists
TAKEN = {"ladder": (BASE, BEST), "external": (STUDY, "test", "validation")}  # names that mean something else
UNLESS_0 = ("retrain", "size")  # settings of a row that act unless they are 0
# Settings that act with one value of `name` in their group alone
ONLY_WITH = {("loss", "gamma"): "focal", ("schedule", "period"): "restarts"}


def resolve(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of every stage, keyed by file name, such as `draw` or `train/final`.

    Raises:
        ConfigError: an unknown key, profile or row, a wrong type, or a value out of range.
    """
    if not isinstance(params, dict):
        raise ConfigError("params.yaml: expected keys and values")
    profile = params.get("profile", "")
    check_choice("profile", profile, PROFILES)
    study = validate(Params, {key: _choose(value, profile, key) for key, value in params.items()})
    values = study.model_dump(exclude_none=True)
    if taken := [f"{key}.{name}" for key, names in TAKEN.items() for name in names if name in values[key]]:
        raise ConfigError(f"{taken[0]}: this name is taken; choose another")
    if missing := {"v1", "v2"} - study.features.keys():
        raise ConfigError(f"features.{min(missing)} is missing: the report's tables use it")
    if study.split.outer and study.split.tail:
        raise ConfigError(f"split.tail = {study.split.tail}: needs split.outer = 0, since both choose the test part")
    _check_repeats(study.repeats, study.split.outer)
    rows, starts = _rows(values)
    for key, names, known in (
        ("rows", study.rows, rows),
        ("blend.row", [study.blend.row], rows),
        ("blend.features", [study.blend.features], study.features),
        ("robustness.rows", study.robustness.rows, rows),
    ):
        for name in names:
            check_choice(key, name, known)
    for name, row in rows.items():
        if (size := row["model"].get("size", 0)) > study.images.size:
            raise ConfigError(f"ladder.{name}: model.size = {size} should be at most images.size = {study.images.size}")
    chosen = [name for name in rows if name in (study.rows or rows)]
    masks = {name: group["masks"] for name, group in values["features"].items()}
    seed, drawn = {"seed": study.seed}, study.data.source == "synthetic"
    if drawn:
        values["data"]["path"] = "data/synthetic"
    # Drawn cells do not test models of real ones
    external = {name: group for name, group in values["external"].items() if drawn or group["source"] != "synthetic"}
    files = {
        "draw": {"seed": study.seed, "synthetic": values["synthetic"]} if drawn else {"seed": None, "synthetic": None},
        f"ingest/{STUDY}": seed | values["data"],
        "split": seed | values["split"],
        "pack": values["images"],
        "segment": {"methods": list(METHODS)},
        "features": {"masks": masks},
        "gridsearch": seed | values["grid"] | {"masks": masks["v2"]},
        "external": {"sets": list(external)},
        "predict": {"tta": values["tta"], "sets": list(external)},
        "embed": seed | values["embed"],
        "robustness": seed,
        "blend": values["blend"] if study.blend.row in chosen else None,
    }
    for name in study.external:
        files[f"ingest/{name}"] = external[name] | {"strict": study.data.strict} if name in external else None
    for name, method in masks.items():
        files[f"classical/{name}"] = seed | {"implementation": study.grid.implementation, "masks": method}
    for name, row in rows.items():
        files[f"train/{name}"] = row | {"images": values["images"]} if name in chosen else None
    ladder = {}
    for name in chosen:
        below = starts[name]
        while below not in (*chosen, BASE):  # a row that was not run has no results to compare with
            below = starts[below]
        ladder[name] = {"from": below} | _difference(rows[name], rows.get(below, {}))
    files["report"] = {
        "profile": profile,
        "source": study.data.source,
        "repeats": study.repeats,
        "outer": study.split.outer,
        "networks": {name: rows[name]["model"]["name"] for name in chosen},
        "ladder": ladder,
        "augment": rows[FINAL]["augment"] if FINAL in chosen else None,
        "features": masks,
        "methods": list(METHODS),
        "blend": values["blend"] | {"made": study.blend.row in chosen},
        "robust": [name for name in study.robustness.rows if name in chosen],
        "external": list(external),
        "crop": study.images.crop,
    }
    compute = {"compute": values["compute"]}
    return {name: compute | settings if settings else LEFT_OUT for name, settings in files.items()}


def complete(resolved: dict[str, dict[str, Any]], known: Collection[str]) -> None:
    """Check what `resolve` returned against the disk, and add the hashes of the files in `model.weights` to it.

    Args:
        resolved: settings by file name, changed in place.
        known: models that need no check. A check imports timm, which takes seconds.

    Raises:
        ConfigError: timm lacks a model, or a folder or file is missing.
    """
    for name, settings in resolved.items():
        what = name.partition("/")[2]
        if "path" in settings:
            _check_folders("data" if what == STUDY else f"external.{what}", Path(settings["path"]), settings["source"])
        if "model" in settings:
            _check_model(what, settings["model"], known)


def _check_folders(key: str, path: Path, source: str | list[str]) -> None:
    if source != "synthetic" and not path.is_dir():
        raise ConfigError(f"{key}.path = {str(path)!r}: no such folder; put the images there, or a link to them")
    for name in source if isinstance(source, list) else ():
        if not (path / name).is_dir():
            raise ConfigError(f"{key}.path = {str(path)!r}: no folder {name!r} there for the source {name}")


def _check_model(row: str, model: dict[str, Any], known: Collection[str]) -> None:
    if model["name"] not in known:
        import timm

        try:
            timm.get_pretrained_cfg(model["name"], allow_unregistered=False)
        except RuntimeError:
            similar = hint(model["name"], [*timm.list_models(), *timm.list_pretrained()])
            raise ConfigError(f"{row}: model.name = {model['name']!r}: timm has no such model{similar}") from None
    if model["weights"] not in ("imagenet", "none"):
        path = Path(model["weights"])
        if not path.is_file():
            raise ConfigError(f"{row}: model.weights = {str(path)!r}: no such file (or imagenet | none)")
        if WEIGHTS not in path.parents:
            raise ConfigError(f"{row}: model.weights = {str(path)!r}: should be a file in {WEIGHTS}/")
        model["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()


def _check_repeats(repeats: list[int], outer: int) -> None:
    if outer == 1:
        raise ConfigError("split.outer = 1: should be 0, or 2 and more: a single fold leaves nothing to train on")
    if len(set(repeats)) < len(repeats):
        raise ConfigError(f"repeats = {repeats}: one is listed twice")
    for first in {repeat - repeat % outer for repeat in repeats} if outer else ():
        if not {*range(first, first + outer)} <= {*repeats}:
            raise ConfigError(
                f"repeats = {repeats}: split.outer = {outer} needs all from {first} to {first + outer - 1}"
            )


def _rows(values: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The effective settings of each row of the ladder, and the name of the row that it starts from."""
    settings, rows, starts = {BASE: {key: values[key] for key in RowKnobs.model_fields}}, {}, {}
    for name, changes in values["ladder"].items():
        start = starts[name] = changes.get("from", list(settings)[-1])
        check_choice(f"ladder.{name}.from", start, settings)
        settings[name] = merge(settings[start], {key: value for key, value in changes.items() if key != "from"})
        row = validate(RowKnobs, settings[name], prefix=f"ladder.{name}: ").model_dump(exclude_none=True)
        rows[name] = _effective(f"ladder.{name}", row)
    return rows, starts


def _effective(key: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row without the settings that have no effect.

    Raises:
        ConfigError: settings do not go together.
    """
    train = row["train"]
    for (group, knob), choice in ONLY_WITH.items():
        if row[group]["name"] != choice:
            row[group].pop(knob, None)
        elif knob not in row[group]:
            raise ConfigError(f"{key}: {group}.{knob} is missing: {group}.name = {choice!r} needs it")
    for values in (train, row["model"]):
        for knob in UNLESS_0:
            if not values.get(knob, True):
                del values[knob]
    if train["freeze"] > train["epochs"]:
        raise ConfigError(f"{key}: train.freeze = {train['freeze']} should be at most epochs = {train['epochs']}")
    return row


def _choose(value: Any, profile: str, key: str) -> Any:
    """`value`, in which one value replaces each `{report: …, sample: …}`."""
    if not isinstance(value, dict) or key in READ_BY_DVC:
        return value
    if value.keys().isdisjoint(PROFILES) or key == "ladder":  # a row may have a profile's name
        return {name: _choose(below, profile, f"{key}.{name}") for name, below in value.items()}
    default, *others = PROFILES
    if default not in value or value.keys() - set(PROFILES):
        raise ConfigError(f"{key} = {value!r}: values by profile need {default}, and may have {' and '.join(others)}")
    return value.get(profile, value[default])


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `changes` in place of its own; neither is modified."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if both else value
    return merged


def _difference(row: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The leaves of `row` that differ from those of `base`."""
    row = dict.fromkeys((key for key in UNLESS_0 if key in base), 0) | row
    nested = {key: _difference(value, base.get(key, {})) for key, value in row.items() if isinstance(value, dict)}
    return {key: nested.get(key, value) for key, value in row.items() if nested.get(key, value != base.get(key))}
