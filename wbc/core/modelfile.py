"""The file of a trained model: its tensors as safetensors, all else as JSON in the header."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import atomic


class WeightsError(UserError):
    """Weights cannot be had or do not fit; the message is one line saying what to do."""


def write(path: str | Path, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors, and the header with the classes as JSON."""
    text = json.dumps({"classes": CLASSES, **header})
    tensors = {
        name: np.asarray(tensor, order="C") for name, tensor in tensors.items()
    }  # else safetensors mixes them up
    # one entry, since safetensors writes several in no fixed order
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={"wbc": text}))


def read_header(path: str | Path) -> dict[str, Any]:
    """What `write` wrote into the header.

    Raises:
        WeightsError: missing, not a file of this project, or trained for other classes.
    """
    if not Path(path).exists():
        raise WeightsError(
            f"{path}: no such file; dvc repro leaves trained models in runs/<row>-<repeat>/train/model.safetensors"
        )
    try:
        with safe_open(path, "np") as file:
            header = json.loads((file.metadata() or {})["wbc"])
    except KeyError:
        raise WeightsError(f"{path}: not a model of this project: weights without its description") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: not a model of this project ({error})") from None
    with complete(path):
        if tuple(header["classes"]) != CLASSES:
            raise WeightsError(f"{path}: trained for other classes: {', '.join(header['classes'])}")
    return header


@contextmanager
def complete(path: str | Path) -> Iterator[None]:
    """What a file lacks for the block, or has that does not fit, is said in a line.

    Raises:
        WeightsError: a `KeyError` or a `RuntimeError`, PyTorch's of tensors that do not fit.
    """
    try:
        yield
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: this version cannot read it: {' '.join(str(error).split())[:200]}") from None
