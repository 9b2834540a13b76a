"""`params.yaml`, validated, and resolved into one settings file for each stage and what it works on.

`resolve` chooses the profile's values, accumulates the ladder and returns what every stage will read, with the settings
that have no effect on it left out. So an unchanged settings file means unchanged behaviour, and DVC reruns exactly the
rows whose effective settings changed. `complete` adds and refuses what only the disk knows.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from wbc.config.files import BASE, BEST, LEFT_OUT, STUDY, WEIGHTS, ConfigError
from wbc.config.messages import hint, listed, validate
from wbc.config.schema import METHODS, PROFILES, Params, RowKnobs

# In dvc.yaml, which knows no profile: they have one value
READ_BY_DVC = ("blend", "external", "features", "repeats", "robustness", "rows")
FINAL = "final"  # the study's last row, of which its Table 5 speaks


def resolve(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of every stage, by the name of their file in settings/: `draw` and `train/final`.

    Raises:
        ConfigError: an unknown key, profile or row, a wrong type, or a value out of range.
    """
    if not isinstance(params, dict):
        raise ConfigError("params.yaml: expected keys and values")
    profile = params.get("profile", "")
    if profile not in PROFILES:
        raise ConfigError(f"profile = {profile!r}: allowed: {', '.join(PROFILES)}{hint(str(profile), PROFILES)}")
    study = validate(Params, {key: _chosen(value, profile, key) for key, value in params.items()})
    if missing := {"v1", "v2"} - study.features.keys():
        raise ConfigError(f"features.{min(missing)} is missing: the report's tables are of it")
    for key, names, taken in (
        ("ladder", study.ladder, {BASE, BEST}),
        ("external", study.external, {STUDY, "validation", "test"}),
    ):
        if found := taken & names.keys():
            raise ConfigError(f"{key}.{min(found)}: this name is taken; choose another")
    _check_repeats(study.repeats, study.split.outer)
    values = study.model_dump(exclude_none=True)
    rows, starts = _rows(values)
    for key, names, known in (
        ("rows", study.rows, rows),
        ("blend.row", [study.blend.row], rows),
        ("robustness.rows", study.robustness.rows, rows),
        ("blend.features", [study.blend.features], study.features),  # whose masks the page shows, blend or not
    ):
        for name in names:
            if name not in known:
                raise ConfigError(f"{key} = {name!r}: allowed: {', '.join(known)}{hint(name, known)}")
    chosen = [name for name in rows if name in (study.rows or rows)]
    masks = {name: of_set["masks"] for name, of_set in values["features"].items()}
    data, seed, drawn = values["data"], {"seed": study.seed}, study.data.source == "synthetic"
    if drawn:  # into a folder of their own, wherever data.path points
        data["path"] = "data/synthetic"
    # models of one's own images are not tested on drawn ones
    external = [name for name, of_set in study.external.items() if drawn or of_set.source != "synthetic"]
    files = {
        "draw": {"seed": study.seed, "synthetic": values["synthetic"]} if drawn else {"seed": None, "synthetic": None},
        f"ingest/{STUDY}": seed | data,
        **{
            f"ingest/{name}": of_set | {"strict": data["strict"]} if name in external else None
            for name, of_set in values["external"].items()
        },
        "split": seed | values["split"],
        "pack": values["images"],
        "segment": {"methods": list(METHODS)},
        "features": {"masks": masks},
        **{
            f"classical/{name}": seed | {"implementation": study.grid.implementation, "masks": masks[name]}
            for name in masks
        },
        "gridsearch": seed | values["grid"] | {"masks": masks["v2"]},
        "external": {"sets": external},
        "predict": {"tta": values["tta"], "sets": external},
        "embed": seed | values["embed"],
        "robustness": seed,
        "blend": values["blend"] if study.blend.row in chosen else None,
    }
    for name, row in rows.items():
        files[f"train/{name}"] = row | {"images": values["images"]} if name in chosen else None
    ladder = {}
    for name in chosen:
        below = starts[name]
        while below not in chosen and below != BASE:  # what was not run is nothing to compare with
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
        "external": external,
        "crop": study.images.crop,
    }
    compute = {"compute": values["compute"]}
    return {name: compute | found if found else LEFT_OUT for name, found in files.items()}


def complete(resolved: dict[str, dict[str, Any]], known: Collection[str]) -> None:
    """Check what `resolve` returned against the disk, and add the hashes of the files that `model.weights` names.

    Args:
        resolved: by settings file; changed in place.
        known: models that need not be looked up: importing timm takes seconds.

    Raises:
        ConfigError: timm lacks a model, or a folder or file is missing.
    """
    for key, images in image_folders(resolved).items():
        path, sources = Path(images["path"]), images["source"]
        if sources != "synthetic" and not path.is_dir():
            raise ConfigError(f"{key}.path = {str(path)!r}: no such folder; put the images there, or a link to them")
        for name in sources if isinstance(sources, list) else ():
            if not (path / name).is_dir():
                raise ConfigError(
                    f"{key}.path = {str(path)!r}: no folder {name!r} there, where the source {name} should lie"
                )
    for name, row in ((name, values) for name, values in resolved.items() if "model" in values):
        model, name = row["model"], name.removeprefix("train/")
        if model["name"] not in known and (fault := _unknown_to_timm(model["name"])):
            raise ConfigError(f"{name}: model.name = {model['name']!r}: {fault}")
        if model["weights"] not in ("imagenet", "none"):
            path = Path(model["weights"])
            if not path.is_file():
                raise ConfigError(f"{name}: model.weights = {model['weights']!r}: no such file (or imagenet | none)")
            if WEIGHTS not in path.parents:
                raise ConfigError(f"{name}: model.weights = {model['weights']!r}: should be a file in {WEIGHTS}/")
            model["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()


def image_folders(resolved: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What `ingest` reads, by the group of `params.yaml` that says so: `data`, and `external.<set>` of those used."""
    found = {name.removeprefix("ingest/"): values for name, values in resolved.items() if name.startswith("ingest/")}
    return {
        "data" if name == STUDY else f"external.{name}": values for name, values in found.items() if "path" in values
    }


def _check_repeats(repeats: list[int], outer: int) -> None:
    if len(set(repeats)) < len(repeats):
        raise ConfigError(f"repeats = {repeats}: one is listed twice")
    for first in {repeat - repeat % outer for repeat in repeats} if outer else ():
        if not {*range(first, first + outer)} <= {*repeats}:
            raise ConfigError(
                f"repeats = {repeats}: split.outer = {outer} tests every image once in the repeats {first} to "
                f"{first + outer - 1} together: list all of them"
            )


def _unknown_to_timm(name: str) -> str:
    import timm

    try:
        timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        return f"timm has no such model{hint(name, [*timm.list_models(), *timm.list_pretrained()])}"
    return ""


def _rows(values: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The ladder's rows, without the settings that do not act in them, and what each stands on."""
    settings = {BASE: {key: values[key] for key in RowKnobs.model_fields}}
    rows, starts = {}, {}
    for name, delta in values["ladder"].items():
        delta = dict(delta)
        start = starts[name] = delta.pop("from", list(settings)[-1])
        if start not in list(settings):
            allowed = ", ".join(settings)
            raise ConfigError(f"ladder.{name}.from = {start!r}: allowed: {allowed}{hint(str(start), settings)}")
        settings[name] = _merge(settings[start], delta)
        row = validate(RowKnobs, settings[name], prefix=f"ladder.{name}: ").model_dump(exclude_none=True)
        _settle(f"ladder.{name}", row)
        rows[name] = row
    return rows, starts


def _settle(name: str, row: dict[str, Any]) -> None:
    """Leave out of a row the settings that do not act in it, and refuse those that do not go together."""
    loss, schedule, train = row["loss"], row["schedule"], row["train"]
    for user, knob in (("focal", "gamma"), ("logit_adjusted", "tau")):
        if loss["name"] != user:
            loss.pop(knob, None)
        elif knob not in loss:
            raise ConfigError(f"{name}: loss.{knob} is missing: the loss {user} needs a number >= 0")
    if loss["name"] == "logit_adjusted" and train["sampler"] == "weighted":
        raise ConfigError(
            f"{name}: loss.name = 'logit_adjusted' needs train.sampler = 'shuffle': 'weighted' already shows every "
            f"class equally often"
        )
    if schedule["name"] != "restarts":
        schedule.pop("period", None)
    elif "period" not in schedule:
        raise ConfigError(f"{name}: schedule.period is missing: restarts need a number of epochs >= 1")
    for knob in ("retrain", "soup"):
        if not train.get(knob):
            train.pop(knob, None)
    if soup := train.get("soup"):
        free = train["epochs"] - train["freeze"]
        period = schedule.get("period", free + 1)
        if free % period or soup * period > free:
            raise ConfigError(
                f"{name}: train.soup = {soup} needs schedule.name = 'restarts' and as many whole cycles in the {free} "
                f"epochs that are not frozen"
            )
        if train["ema"] or "retrain" in train:
            raise ConfigError(f"{name}: train.soup = {soup} goes with neither train.ema nor train.retrain")


def _chosen(value: Any, profile: str, key: str) -> Any:
    """`value`, with one of each `{report: …, sample: …}` in it."""
    if not isinstance(value, dict) or key in READ_BY_DVC:
        return value
    if value.keys().isdisjoint(PROFILES) or key == "ladder":
        return {name: _chosen(below, profile, f"{key}.{name}") for name, below in value.items()}
    if PROFILES[0] not in value or value.keys() - set(PROFILES):
        raise ConfigError(f"{key} = {value!r}: expected a value for {PROFILES[0]} and for none but {listed(PROFILES)}")
    return value.get(profile, value[PROFILES[0]])


def _merge(base: dict[str, Any], delta: dict[str, Any] | None) -> dict[str, Any]:
    """`base` with the leaves of `delta` in place of its own; neither is changed."""
    merged = dict(base)
    for key, value in (delta or {}).items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _difference(row: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The leaves of `row` that `base` has not, or not so."""
    nested = {key: _difference(value, base.get(key, {})) for key, value in row.items() if isinstance(value, dict)}
    return {key: nested.get(key, value) for key, value in row.items() if nested.get(key, value != base.get(key))}
