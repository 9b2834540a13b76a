"""The page of `classify --html`: every cell with its picture, outline and heat map, and the counts of the classes."""

import base64
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import jinja2
import numpy as np
import torch
from scipy.stats import binomtest

from wbc.cli.classify import Prediction
from wbc.core.classes import CLASSES, NAMES
from wbc.core.errors import UserError
from wbc.core.io import write_text
from wbc.core.parallel import parallel_map
from wbc.dataset.images import decode
from wbc.dataset.pack import centre_crop, resize
from wbc.models.model import Model
from wbc.network.explain import SIDE, layer_cam_maps
from wbc.network.inference import BATCH
from wbc.network.pixels import Pixels
from wbc.report.cells import outline
from wbc.segment import method

MAXIMUM = 2000  # cells on a page, which keeps it near 10 MB
THUMBNAIL = 96  # pixels of its longer side
RED, OPACITY = (0, 60, 255), 0.7  # of the heat map, in OpenCV's order of colours


class Count(NamedTuple):
    label: str
    cells: int
    percent: float
    low: float  # of the 95% Wilson interval, in per cent
    high: float


class Picture(NamedTuple):
    thumbnail: str  # data URL
    width: int  # of the thumbnail, in pixels
    height: int
    outline: str  # SVG path in per cent of the image, "" without masks
    pixels: np.ndarray | None  # (size, size, 3) uint8, RGB, for the network
    heat_map: str = ""  # data URL, "" without a network


def write_page(path: Path, predictions: Sequence[Prediction], model: Model, name: str, device: torch.device) -> None:
    """Write the page of N predictions with the pictures of at most `MAXIMUM` cells, read from their files again.

    It shows cells with a note first, then those with the lowest probability. Its counts are of all cells. `name` is the
    model's on the page.

    Raises:
        ImageError: an image can no longer be read.
    """
    cells = [each for each in predictions if each.label]
    shown = sorted(cells, key=lambda each: (not each.note, each.probability))[:MAXIMUM]
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(each.image)) for each in predictions])
    template = Path(__file__).with_name("classify.html").read_text(encoding="utf-8")
    text = jinja2.Template(template, autoescape=True, undefined=jinja2.StrictUndefined).render(
        model=model,
        name=name,
        folder=os.path.basename(folder),
        number="{:,}".format,
        decimal="{:.1f}".format,
        file_name=lambda each: os.path.relpath(each.image, folder),
        total=len(cells),
        noted=sum(bool(each.note) for each in cells),
        notes=Counter(note for each in cells for note in each.note.split("; ") if note).most_common(),
        unread=[each for each in predictions if not each.label],
        counts=class_counts([each.label for each in cells], model),
        names=NAMES,
        shown=list(zip(shown, read_pictures(shown, model, device), strict=True)),
        crop=model.network.crop if model.network else 1,
    )
    write_text(path, text.encode(errors="backslashreplace").decode())  # file names may not be UTF-8


def class_counts(labels: Sequence[str], model: Model) -> list[Count]:
    """The counts of N predicted classes, in the order of `CLASSES`; of absent ones, those the model can predict."""
    found, total = Counter(labels), len(labels)
    table = []
    for index, label in enumerate(CLASSES):
        if total and (found[label] or index not in model.unseen):
            interval = binomtest(found[label], total).proportion_ci(method="wilson")
            percents = (100 * fraction for fraction in (found[label] / total, interval.low, interval.high))
            table.append(Count(label, found[label], *percents))
    return table


def read_pictures(predictions: Sequence[Prediction], model: Model, device: torch.device) -> Iterator[Picture]:
    """The pictures of N predicted images in their order, with heat maps of the predicted classes."""
    network = model.network
    tasks = ((Path(each.image), *model.input_spec) for each in predictions)
    pictures = parallel_map(read_picture, tasks, len(predictions), "page", threads=True)
    pairs = zip(pictures, predictions, strict=True)
    while batch := list(islice(pairs, BATCH)):
        heat_maps = [""] * len(batch)
        if network:
            pixels = Pixels(np.stack([picture.pixels for picture, _ in batch]), np.arange(len(batch)), device)
            classes = np.array([CLASSES.index(each.label) for _, each in batch])
            try:
                heat_maps = [draw(heat) for heat in layer_cam_maps(network, pixels, pixels.rows, classes)]
            except UserError as error:  # the backbone has no feature map
                print(f"no heat maps: {error}", file=sys.stderr)
                network = None
        for (picture, _), heat_map in zip(batch, heat_maps, strict=True):
            yield picture._replace(pixels=None, heat_map=heat_map)


def read_picture(file: Path, pixels: tuple[int, float] | None, features: tuple[str, str] | None) -> Picture:
    """Read the picture of an image file, without a heat map, for the fields of an `InputSpec`."""
    image = decode(file.read_bytes())
    scale = min(1, THUMBNAIL / max(image.shape[:2]))
    width, height = (max(1, round(scale * length)) for length in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    packed = resize(centre_crop(image, pixels[1]), pixels[0]) if pixels else None
    path = outline(method(features[1]).segment(image)) if features else ""
    return Picture(_data_url("jpeg", small[..., ::-1]), width, height, path, packed)


def draw(heat: np.ndarray) -> str:
    """A (size, size) float32 heat map from 0 to 1 as the opacity of a small red PNG image, a data URL."""
    opacity = OPACITY * cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    colours = np.broadcast_to(np.uint8(RED), (SIDE, SIDE, 3))
    return _data_url("png", np.dstack([colours, np.uint8(255 * opacity.clip(0, 1) + 0.5)]))


def _data_url(kind: str, image: np.ndarray) -> str:
    content = cv2.imencode(f".{kind}", image, [cv2.IMWRITE_JPEG_QUALITY, 85] if kind == "jpeg" else [])[1]
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
