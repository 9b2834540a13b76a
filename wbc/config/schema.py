"""The groups and keys of `params.yaml`, and the messages for values that do not fit."""

import ast
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from wbc.config.files import ConfigError

PACKAGE = Path(__file__).parent.parent


def key_of(table: str, module: str) -> Any:
    """The type of a setting that names an entry of `TABLE = {"name": …}`, a table at the top of a module of `wbc`.

    The names are read from the source, since importing PyTorch would cost `configure` seconds.
    """
    for node in ast.parse((PACKAGE / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and node.targets[0].id == table:
            return Literal[tuple(key.value for key in node.value.keys)]
    raise LookupError(f"{module} has no table {table}")


def file_in(folder: str) -> Any:
    """The type of a setting that names a module in a folder of `wbc`."""
    return Literal[tuple(sorted(path.stem for path in (PACKAGE / folder).glob("[!_]*.py")))]


PROFILES = ("report", "sample", "laptop")  # a key without a value for the chosen profile uses the first one's
Method, Source = file_in("segment/methods"), file_in("sources")
METHODS, SOURCES = get_args(Method), get_args(Source)


def _ascending(values: list[float]) -> list[float]:
    if values != sorted(values):
        raise ValueError("should be [low, high]")
    return values


def _known_source(source: Any) -> Any:
    several = isinstance(source, list)
    for name in source if several else [source]:
        check_choice("data.source", name, SOURCES)
    if several and ("synthetic" in source or len(source) < 2 or len({*source}) < len(source)):
        raise ValueError("should be two or more different sources, none of them synthetic")
    return source


Number = TypeVar("Number")
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]  # neither 0 nor 1
Rate = Annotated[float, Field(ge=0, lt=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Grid = Annotated[list[Count], Field(min_length=1)]
Range = Annotated[list[Number], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
DrawnPixels = Annotated[int, Field(ge=32, le=4096)]
SourceOrList = Annotated[Any, AfterValidator(_known_source)]


class Group(BaseModel):
    """A group of keys, all known, required and of the given type; an integer may stand for a float."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def group(name: str = "Group", /, **types: Any) -> type[Group]:
    """A group of few keys, by their types. With its name in this module it can be pickled."""
    return create_model(name, __base__=Group, __module__=__name__, **types)


Compute = group("Compute", threads=Annotated[int, Field(ge=1, le=256)], isa=Literal["avx2", "native"])
Images = group("Images", size=Annotated[int, Field(ge=8, le=4096)], crop=PositiveFraction)
GridSearch = group(
    "GridSearch", implementation=Literal["hist", "exact"], n_estimators=Grid, max_depth=Grid, smote_neighbors=Count
)
Optim = group("Optim", lr_backbone=Positive, lr_head=Positive, weight_decay=NonNegative)
Mix = group("Mix", mixup_alpha=NonNegative, cutmix_alpha=NonNegative)
TTA = group("TTA", passes=Index, temperature=Positive)


class ModelKnobs(Group):
    name: Text
    weights: Text
    hidden: Index
    activation: Literal["relu", "gelu"]
    dropout_in: Rate
    dropout: Rate
    size: Index | None = None  # absent if it sees the images as they are packed


class Model(ModelKnobs):
    sha256: str | None = None  # of the file in `weights`, added by `wbc.config.resolve.complete`


class Loss(Group):
    name: key_of("LOSSES", "train/losses.py")
    gamma: NonNegative | None = None  # focal alone
    class_weights: key_of("CLASS_WEIGHTS", "train/losses.py")


class Schedule(Group):
    name: key_of("SCHEDULES", "train/schedule.py")
    period: Count | None = None  # restarts alone
    floor: Fraction


class Train(Group):
    validation: OpenFraction
    epochs: Count
    patience: Index
    batch_size: Count
    sampler: Literal["weighted", "shuffle"]
    freeze: Index
    retrain: Index | None = None  # absent if the head is not retrained
    compile: bool


class Augment(Group):
    flip: Fraction
    rotation: Annotated[float, Field(ge=0, le=180)]
    translate: Fraction
    scale: Range[Positive]
    brightness: Fraction
    contrast: Fraction
    saturation: Fraction
    stain: Fraction
    erase: Fraction
    erase_scale: Range[PositiveFraction]


class RowKnobs(Group):
    """The groups that a row of the ladder may change."""

    seed: Index
    model: ModelKnobs
    loss: Loss
    optim: Optim
    schedule: Schedule
    train: Train
    augment: Augment
    mix: Mix


class Training(RowKnobs):
    """The effective settings of one training."""

    model: Model
    compute: Compute
    images: Images


class Params(RowKnobs):
    """The whole of `params.yaml`, with the values of one profile."""

    profile: Literal[PROFILES]
    repeats: Annotated[list[Index], Field(min_length=1)]
    rows: list[str]
    compute: Compute
    data: group(
        source=SourceOrList, path=Text, test_fraction=OpenFraction, strict=bool, leaks=Literal["report", "stop"]
    )
    synthetic: group(
        train=Count,
        test=Count,
        minimum_train=Count,
        minimum_test=Count,
        laboratory=Count,
        size=DrawnPixels,
    )
    external: dict[Name, group(source=Source, path=Text)]
    split: group(folds=Annotated[int, Field(ge=2, le=100)], outer=Annotated[int, Field(ge=0, le=100)], tail=NonNegative)
    images: Images
    features: Annotated[dict[file_in("features/sets"), group(masks=Method)], Field(min_length=1)]
    grid: GridSearch
    tta: TTA
    embed: group(perplexity=Positive)
    blend: group(row=str, features=str)
    robustness: group(rows=list[str])
    ladder: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]


def hint(name: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_choice(key: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise a `ConfigError` unless the value of a key is one of the allowed names."""
    allowed = list(allowed)
    if value not in allowed:
        raise ConfigError(f"{key} = {value!r}: allowed: {', '.join(allowed)}{hint(value, allowed)}")


def validate(schema: type[Group], values: Any, prefix: str = "") -> Any:
    """`values` as an instance of `schema`.

    Raises:
        ConfigError: the first fault as `key = value: what is allowed`, after the prefix.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as found:
        error = found.errors()[0]
    *parents, last = [str(part) for part in error["loc"] if part != "[key]"] or [""]
    setting = f"{prefix}{'.'.join([*parents, last])}"
    if error["type"] == "missing":
        raise ConfigError(f"{setting} is missing")
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if error["type"] == "extra_forbidden":
        for parent in parents:
            fields = getattr(schema, "model_fields", None)
            schema = fields[parent].annotation if fields else get_args(schema)[1]  # the values of a dict
        message = f"unknown key; allowed: {', '.join(schema.model_fields)}{hint(last, schema.model_fields)}"
    raise ConfigError(f"{setting} = {error['input']!r}: {message}")
