"""The settings files: where they stand, how they are written and read. Light, as every stage imports it first."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from wbc.core.errors import UserError

SETTINGS = Path("settings")
STUDY = "study"  # the set of the study's own images, beside the `external` ones
BEST = "best"  # the blend that is served: not a name for a row
BASE = "base"  # what a row's `from` calls the values above the ladder
LEFT_OUT = {"left_out": True}  # the whole settings of a stage that this study does not need
WEIGHTS = Path("data/weights")  # what lies there is a dependency of `configure`
DRAWN_CELLS = WEIGHTS / "drawn_cells.safetensors"  # what tools/pretrain.py writes


class ConfigError(UserError):
    """A setting is wrong; the message is one line naming the key, the value and what is allowed."""


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


def settings_path(stage: str, what: str = "") -> Path:
    """Where the settings of a stage stand."""
    return SETTINGS / stage / f"{what}.yaml" if what else SETTINGS / f"{stage}.yaml"


def load(stage: str, what: str = "", repeat: int = 0) -> SimpleNamespace:
    """The settings that `configure` wrote for a stage, `settings/<stage>.yaml` or `settings/<stage>/<what>.yaml`.

    `wbc.config.resolve` says which keys each has. A repeat of the study is another seed, `seed + repeat`.
    """
    settings = SimpleNamespace(**read_yaml(settings_path(stage, what)))
    if repeat:
        settings.seed += repeat
    return settings
