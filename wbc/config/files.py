"""Paths, names and reading of the settings files. Every stage imports this module first, so its imports are few."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from wbc.core.errors import UserError

SETTINGS = Path("settings")
STUDY = "study"  # the image set of the study itself, beside the `external` ones
BEST = "best"  # the blend; no row may have this name
BASE = "base"  # in a row's `from`: the values above the ladder
LEFT_OUT = {"left_out": True}  # content of the settings file of a stage that this study does not need
WEIGHTS = Path("data/weights")  # a dependency of `configure`
DRAWN_CELLS = WEIGHTS / "drawn_cells.safetensors"  # output of tools/pretrain.py


class ConfigError(UserError):
    """A setting is wrong. The message names the key, the value and what is allowed."""


def dumped(values: dict[str, Any]) -> str:
    """Settings as YAML text. Equal settings give equal text."""
    yaml = YAML()
    yaml.default_flow_style = False  # one value per line, so that branches merge
    yaml.representer.ignore_aliases = lambda data: True
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


def read_yaml(path: str | Path) -> Any:
    """The values of a YAML 1.2 file, in which `1e-4` and `3e-05` are numbers.

    Raises:
        ConfigError: the file is missing or is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (YAMLError, UnicodeDecodeError) as error:
        place, problem = (getattr(error, name, None) for name in ("problem_mark", "problem"))
        where = f", line {place.line + 1}, column {place.column + 1}" if place else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {' '.join(str(problem or error).split())}") from None


def load(name: str, repeat: int = 0) -> SimpleNamespace:
    """The settings in `settings/<name>.yaml`; a repeat adds its number to the seed."""
    settings = SimpleNamespace(**read_yaml(SETTINGS / f"{name}.yaml"))
    if repeat:
        settings.seed += repeat
    return settings
