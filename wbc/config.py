"""`params.yaml`, validated, and resolved into one settings file per consumer.

`resolve` chooses the profile's values, accumulates the ladder and returns what every stage will read, with the settings
that have no effect on it left out. So an unchanged settings file means unchanged behaviour, and DVC reruns exactly the
rows whose effective settings changed. `complete` adds and refuses what only the disk knows.
"""

import ast
import difflib
import hashlib
import io
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from wbc.core.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Pixels = Annotated[int, Field(ge=8, le=4096)]
Grid = Annotated[list[Count], Field(min_length=1)]
Range = Annotated[list[Positive], Field(min_length=2, max_length=2)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
PROFILES = ("report", "sample", "laptop")  # a knob without a value for the chosen one takes the first's
BASE = "base"  # what a row's `from` calls the values above the ladder
SETTINGS = Path("settings")
STUDY = "study"  # the set of the study's own images, beside the `external` ones
# In dvc.yaml, which knows no profile: they have one value
READ_BY_DVC = ("blend", "external", "features", "repeats", "robustness", "rows")
FINAL = "final"  # the study's last row, of which its Table 5 speaks
WEIGHTS = Path("data/weights")  # what lies there is a dependency of `configure`
DRAWN_CELLS = WEIGHTS / "drawn_cells.safetensors"  # what tools/pretrain.py writes
LEFT_OUT = {"left_out": True}  # the whole settings of a stage that this study does not need
Implementation = Literal["hist", "exact"]  # of gradient boosting


class ConfigError(UserError):
    """A setting is wrong; the message is one line naming the key, the value and what is allowed."""


def key_of(table: str, module: str) -> Any:
    """The type of a setting that names an entry of a table, `TABLE = {"name": …}` at the top of a module of `wbc`.

    The names are read from the source: importing PyTorch would take `configure` seconds.
    """
    for node in ast.parse((Path(__file__).parent / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and node.targets[0].id == table:
            return Literal[tuple(key.value for key in node.value.keys)]
    raise LookupError(f"{module} has no table {table}")


def file_in(folder: str) -> Any:
    """The type of a setting that names a module in a folder of `wbc`."""
    return Literal[tuple(sorted(path.stem for path in (Path(__file__).parent / folder).glob("[!_]*.py")))]


class Group(BaseModel):
    """One group of `params.yaml`: every key known, required, and of its type (an integer may stand for a float)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Compute(Group):
    threads: Annotated[int, Field(ge=1, le=256)]
    isa: Literal["avx2", "native"]
    launch: Literal["single", "torchrun"]
    joblib_backend: Literal["loky", "dask"]


SOURCES = get_args(file_in("sources"))
METHODS = get_args(file_in("segment/methods"))


class Data(Group):
    source: Any  # one of `SOURCES`, or a list of several
    path: Annotated[str, Field(min_length=1)]
    test_fraction: OpenFraction
    strict: bool
    leaks: Literal["report", "stop"]

    @model_validator(mode="after")
    def _known(self):
        names = self.source if isinstance(self.source, list) else [self.source]
        for name in names:
            if name not in SOURCES:
                raise ValueError(f"source = {name!r}: allowed: {', '.join(SOURCES)}{_hint(str(name), SOURCES)}")
        if isinstance(self.source, list):
            if len(names) < 2:
                raise ValueError(f"source = {names!r}: a list has two sources or more; one is its name alone")
            if len(set(names)) < len(names):
                raise ValueError(f"source = {names!r}: one is listed twice")
            if "synthetic" in names:
                raise ValueError(f"source = {names!r}: synthetic is drawn into a folder of its own and stands alone")
        return self


class Synthetic(Group):
    train: Count
    test: Count
    minimum_train: Count
    minimum_test: Count
    laboratory: Count
    size: Annotated[int, Field(ge=32, le=4096)]


class ExternalSet(Group):
    source: file_in("sources")
    path: Annotated[str, Field(min_length=1)]


class Split(Group):
    folds: Annotated[int, Field(ge=2, le=100)]
    outer: Annotated[int, Field(ge=0, le=100)]

    @model_validator(mode="after")
    def _divides(self):
        if self.outer == 1:
            raise ValueError("outer = 1 should be 0, or 2 and more: a single fold leaves nothing to train on")
        return self


class Images(Group):
    size: Pixels
    crop: Annotated[float, Field(gt=0, le=1)]


class FeatureSet(Group):
    masks: file_in("segment/methods")


class GridSearch(Group):
    implementation: Implementation
    n_estimators: Grid
    max_depth: Grid
    smote_neighbors: Count


class Blend(Group):
    features: str
    classifier: Literal["logistic_regression", "lda"]  # those that can be served: linear ones
    rows: list[str]


class Robustness(Group):
    rows: list[str]


class ModelKnobs(Group):
    name: Annotated[str, Field(min_length=1)]
    weights: Annotated[str, Field(min_length=1)]
    hidden: Index
    activation: Literal["relu", "gelu"]
    dropout_in: Annotated[float, Field(ge=0, lt=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Model(ModelKnobs):
    sha256: str | None = None  # of the file that `weights` names; `complete` adds it


class Loss(Group):
    name: key_of("LOSSES", "train/losses.py")
    gamma: NonNegative | None = None  # absent where the loss has none
    tau: NonNegative | None = None  # likewise
    smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: key_of("CLASS_WEIGHTS", "train/losses.py")


class Optim(Group):
    lr_backbone: Positive
    lr_head: Positive
    weight_decay: NonNegative
    clip_norm: NonNegative


class Schedule(Group):
    name: key_of("SCHEDULES", "train/schedule.py")
    period: Count | None = None  # absent where the schedule has none
    floor: Fraction


class Train(Group):
    validation: OpenFraction
    epochs: Count
    patience: Count
    batch_size: Count
    sampler: Literal["weighted", "shuffle"]
    freeze: Index
    retrain: Index | None = None  # absent where the head learns once
    ema: Annotated[float, Field(ge=0, lt=1)]
    soup: Index | None = None  # absent where no cycles are averaged
    compile: bool

    @model_validator(mode="after")
    def _ends(self):
        if self.freeze > self.epochs:
            raise ValueError(f"freeze = {self.freeze} should be at most epochs = {self.epochs}")
        return self


class Augment(Group):
    flip: Fraction
    rotation: Annotated[float, Field(ge=0, le=180)]
    translate: Fraction
    scale: Range
    brightness: Fraction
    contrast: Fraction
    saturation: Fraction
    stain: Fraction
    erase: Fraction
    erase_scale: Range

    @model_validator(mode="after")
    def _ordered(self):
        for key in ("scale", "erase_scale"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} must be [low, high] with low <= high")
        if self.erase_scale[1] > 1:
            raise ValueError("erase_scale must be shares of the image's area, at most 1")
        return self


class Mix(Group):
    mixup_alpha: NonNegative
    cutmix_alpha: NonNegative


class TTA(Group):
    passes: Index
    temperature: Positive


class Embed(Group):
    perplexity: Positive


class RowKnobs(Group):
    """What a row of the ladder may change."""

    seed: Index
    model: ModelKnobs
    loss: Loss
    optim: Optim
    schedule: Schedule
    train: Train
    augment: Augment
    mix: Mix
    tta: TTA
    embed: Embed


class Params(RowKnobs):
    """The whole of `params.yaml`, of each knob the profile's value."""

    profile: Literal[PROFILES]
    repeats: Annotated[list[Index], Field(min_length=1)]
    rows: list[str]
    compute: Compute
    data: Data
    synthetic: Synthetic
    external: dict[Name, ExternalSet]
    split: Split
    images: Images
    features: Annotated[dict[file_in("features/sets"), FeatureSet], Field(min_length=1)]
    grid: GridSearch
    blend: Blend
    robustness: Robustness
    ladder: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]


# The settings files. Each also holds the threads and the instruction set, which its results depend on.


class Pinned(Group):
    threads: int
    isa: str


class File(Group):
    compute: Pinned


class DrawFile(File):
    seed: Index | None  # absent, as the next, where the images are one's own
    synthetic: Synthetic | None


class IngestFile(File):
    source: str | list[str]
    path: str
    strict: bool
    seed: Index | None = None  # absent, as the next two, for an external set
    test_fraction: OpenFraction | None = None
    leaks: Literal["report", "stop"] | None = None


class SplitFile(File, Split):
    seed: Index


class PackFile(File, Images):
    pass


class SegmentFile(File):
    methods: list[str]


class FeaturesFile(File):
    masks: dict[str, str]  # by feature set


class ClassicalFile(File):
    seed: Index
    implementation: Implementation
    masks: str


class GridSearchFile(File, GridSearch):
    seed: Index


class ExternalFile(File):
    sets: list[str]


class Row(RowKnobs):
    """The effective settings of one row of the ladder."""

    model: Model


class TrainFile(File):
    """The effective settings of one training: those of a row that act in it."""

    seed: Index
    model: Model
    loss: Loss
    optim: Optim
    schedule: Schedule
    train: Train
    augment: Augment
    mix: Mix
    images: Images
    launch: Literal["single", "torchrun"]


class PredictFile(File):
    validation: OpenFraction
    tta: TTA
    sets: list[str]


class EmbedFile(File, Embed):
    seed: Index


class BlendFile(File):
    features: str
    classifier: str


class RobustnessFile(File):
    seed: Index


class ReportFile(File):
    profile: Literal[PROFILES]
    source: str | list[str]
    repeats: list[Index]
    outer: Index
    networks: dict[str, str]  # by row that was run, timm's name of its network
    ladder: dict[str, dict[str, Any]]  # by row: `from`, the row it stands on or `base`, and what differs from that
    augment: Augment | None  # of the report's last row, if it was run
    features: dict[str, str]  # masks by feature set
    methods: list[str]
    blend: Blend  # of the rows that were run
    robust: list[str]  # rows that are scored on corrupted images too
    external: list[str]  # sets of images that every model is scored on too
    crop: float


class MachineFile(Group):
    """Settings that change no result, so no stage depends on them."""

    joblib_backend: Literal["loky", "dask"]


FILES = {  # by folder or file in settings/
    "draw": DrawFile,
    "ingest": IngestFile,
    "split": SplitFile,
    "pack": PackFile,
    "segment": SegmentFile,
    "features": FeaturesFile,
    "classical": ClassicalFile,
    "gridsearch": GridSearchFile,
    "external": ExternalFile,
    "train": TrainFile,
    "predict": PredictFile,
    "embed": EmbedFile,
    "blend": BlendFile,
    "robustness": RobustnessFile,
    "report": ReportFile,
    "machine": MachineFile,
}


def dumped(values: dict[str, Any]) -> str:
    """Settings as YAML in a canonical form, so that equal settings are equal bytes."""
    yaml = YAML()
    yaml.default_flow_style = False  # one value per line: branches merge cleanly
    yaml.representer.ignore_aliases = lambda data: True
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


def read_yaml(path: str | Path) -> Any:
    """Plain Python values of a YAML 1.2 file, in which `1e-4` and `3e-05` are numbers.

    Raises:
        ConfigError: the file is missing or is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except MarkedYAMLError as error:
        place = error.problem_mark
        where = f", line {place.line + 1}, column {place.column + 1}" if place else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {' '.join(str(error.problem).split())}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def load(stage: str, what: str = "", repeat: int = 0) -> Any:
    """The settings that `configure` wrote for a stage, `settings/<stage>.yaml` or `settings/<stage>/<what>.yaml`.

    A repeat of the study is another seed, `seed + repeat`.
    """
    settings = load_file(stage, settings_path(stage, what))
    return settings.model_copy(update={"seed": settings.seed + repeat}) if repeat else settings


def load_file(stage: str, path: Path) -> Any:
    """A file of a stage's settings."""
    return _validate(FILES[stage], read_yaml(path), prefix=f"{path}: ")


def settings_path(stage: str, what: str = "") -> Path:
    """Where the settings of a stage stand."""
    return SETTINGS / stage / f"{what}.yaml" if what else SETTINGS / f"{stage}.yaml"


def resolve(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of every stage, by the name of their file in settings/: `draw` and `train/final`.

    Raises:
        ConfigError: an unknown key, profile or row, a wrong type, or a value out of range.
    """
    if not isinstance(params, dict):
        raise ConfigError("params.yaml: expected keys and values")
    profile = params.get("profile", "")
    if profile not in PROFILES:
        raise ConfigError(f"profile = {profile!r}: allowed: {', '.join(PROFILES)}{_hint(str(profile), PROFILES)}")
    study = _validate(Params, {key: _chosen(value, profile, key) for key, value in params.items()})
    if missing := {"v1", "v2"} - study.features.keys():
        raise ConfigError(f"features.{min(missing)} is missing: the report's tables are of it")
    for key, names, taken in (
        ("ladder", study.ladder, {BASE}),
        ("external", study.external, {STUDY, "validation", "test"}),
    ):
        if found := taken & names.keys():
            raise ConfigError(f"{key}.{min(found)}: this name is taken; choose another")
    _check_repeats(study.repeats, study.split.outer)
    values = study.model_dump(exclude_none=True)
    rows, starts = _rows(values)
    for key, names, known in (
        ("rows", study.rows, rows),
        ("blend.rows", study.blend.rows, rows),
        ("robustness.rows", study.robustness.rows, rows),
        ("blend.features", [study.blend.features], study.features),  # whose masks the page shows, blend or not
    ):
        for name in names:
            if name not in known:
                raise ConfigError(f"{key} = {name!r}: allowed: {', '.join(known)}{_hint(name, known)}")
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
        "gridsearch": seed | values["grid"],
        "external": {"sets": external},
    }
    for name, row in rows.items():
        validation = {"validation": row["train"]["validation"]}
        of_row = {
            "train": {key: value for key, value in row.items() if key not in ("tta", "embed")}
            | {"images": values["images"], "launch": study.compute.launch},
            "predict": validation | {"tta": row["tta"], "sets": external},
            "embed": seed | row["embed"],
        }
        if name in study.blend.rows:
            of_row["blend"] = {key: values["blend"][key] for key in ("features", "classifier")}
        if name in study.robustness.rows:
            of_row["robustness"] = seed
        files |= {f"{stage}/{name}": found if name in chosen else None for stage, found in of_row.items()}
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
        "blend": values["blend"] | {"rows": [name for name in study.blend.rows if name in chosen]},
        "robust": [name for name in study.robustness.rows if name in chosen],
        "external": external,
        "crop": study.images.crop,
    }
    pinned = {"compute": {"threads": study.compute.threads, "isa": study.compute.isa}}
    machine = {"joblib_backend": study.compute.joblib_backend}
    return {name: pinned | found if found else LEFT_OUT for name, found in files.items()} | {"machine": machine}


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
        return f"timm has no such model{_hint(name, [*timm.list_models(), *timm.list_pretrained()])}"
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
            raise ConfigError(f"ladder.{name}.from = {start!r}: allowed: {allowed}{_hint(str(start), settings)}")
        settings[name] = _merge(settings[start], delta)
        row = _validate(RowKnobs, settings[name], prefix=f"ladder.{name}: ").model_dump(exclude_none=True)
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
        raise ConfigError(f"{key} = {value!r}: expected a value for {PROFILES[0]} and for none but {_listed(PROFILES)}")
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


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _listed(names) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def _validate(schema: type[Group], values: Any, prefix: str = "") -> Any:
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        raise ConfigError(prefix + _one_line(schema, error.errors()[0])) from None


def _one_line(schema: type[Group], error: dict[str, Any]) -> str:
    """The first complaint of pydantic as `key = value: what is allowed`."""
    *parents, last = [str(part) for part in error["loc"] if part != "[key]"] or [""]
    key, value = ".".join([*parents, last]), error["input"]
    if error["type"] == "extra_forbidden":
        known = _keys(schema, parents)
        return f"{key} = {value!r}: unknown key; allowed: {', '.join(known)}{_hint(last, known)}"
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "value_error":  # of several keys
        return f"{key}.{error['msg'].removeprefix('Value error, ')}"
    message = error["msg"].removeprefix("Input should be ")
    return f"{key} = {value!r}: should be {message}" if "Input" in error["msg"] else f"{key} = {value!r}: {message}"


def _keys(schema: type[Group], parents: list[str]) -> list[str]:
    for parent in parents:
        fields = getattr(schema, "model_fields", None)
        schema = fields[parent].annotation if fields else get_args(schema)[1]  # of a dict its values'
    return list(schema.model_fields)
