"""What `params.yaml` may hold: one class for each of its groups."""

import ast
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wbc.config.messages import hint

ROOM = Path(__file__).parent.parent
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
Implementation = Literal["hist", "exact"]  # of gradient boosting


def key_of(table: str, module: str) -> Any:
    """The type of a setting that names an entry of a table, `TABLE = {"name": …}` at the top of a module of `wbc`.

    The names are read from the source: importing PyTorch would take `configure` seconds.
    """
    for node in ast.parse((ROOM / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and node.targets[0].id == table:
            return Literal[tuple(key.value for key in node.value.keys)]
    raise LookupError(f"{module} has no table {table}")


def file_in(folder: str) -> Any:
    """The type of a setting that names a module in a folder of `wbc`."""
    return Literal[tuple(sorted(path.stem for path in (ROOM / folder).glob("[!_]*.py")))]


class Group(BaseModel):
    """One group of `params.yaml`: every key known, required, and of its type (an integer may stand for a float)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Compute(Group):
    threads: Annotated[int, Field(ge=1, le=256)]
    isa: Literal["avx2", "native"]


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
                raise ValueError(f"source = {name!r}: allowed: {', '.join(SOURCES)}{hint(str(name), SOURCES)}")
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
    row: str
    features: str
    classifier: Literal[
        "logistic_regression", "knn", "svm_rbf", "random_forest", "adaboost", "gradient_boosting", "lda"
    ]


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
    tta: TTA
    embed: Embed
    blend: Blend
    robustness: Robustness
    ladder: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]


class Training(Group):
    """The effective settings of one training: those of a row that act in it."""

    compute: dict[str, Any]
    seed: Index
    model: Model
    loss: Loss
    optim: Optim
    schedule: Schedule
    train: Train
    augment: Augment
    mix: Mix
    images: Images
