"""Single cells for the page: the predictions of each model, pictures, mask outlines and heat maps."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from wbc.config.files import STUDY
from wbc.core.classes import CLASSES
from wbc.core.tables import RUNS, read_manifest, read_masks, read_pixels
from wbc.dataset.pack import centre_crop, resize
from wbc.report.external import common_classes
from wbc.report.study import PARTS, Study
from wbc.statistics import pairwise_differences, patients

QUALITY = 70
SIZE = 64  # pixels a side of a picture
SHOWN = 30  # pictures per class and part, which keeps the page below 5 MB


class Part(NamedTuple):
    """N labelled cells that several models predicted and none was trained on."""

    ids: np.ndarray  # (N,)
    target: np.ndarray  # (N,)
    predicted: Mapping[str, np.ndarray]  # by model, (N,)
    confidence: Mapping[str, np.ndarray]  # by model, (N,)


def parts(study: Study) -> dict[str, Part]:
    """The cells of `validation`, `test` and each external set that all models predicted in the first repeat.

    A classical model's validation predictions are those of the folds without the cell. All are without TTA.
    """
    found = {}
    for name in (*PARTS, *study.external):
        classes = np.arange(len(CLASSES)) if name in PARTS else common_classes(study, name)
        each = {model: p for model, it in study.compared.items() if (p := it.predictions(study.first, name))}
        tables = {model: pd.DataFrame(p.probabilities, p.ids)[np.isin(p.target, classes)] for model, p in each.items()}
        joined = pd.concat(tables, axis=1, join="inner") if tables else pd.DataFrame()
        if joined.empty:
            continue
        first, probabilities = next(iter(each.values())), {model: joined[model].to_numpy() for model in each}
        target = pd.Series(first.target, first.ids).loc[joined.index].to_numpy()
        predicted = {model: each.argmax(1) for model, each in probabilities.items()}
        confidence = {model: each.max(1) for model, each in probabilities.items()}
        found[name] = Part(joined.index.to_numpy(str), target, predicted, confidence)
    return found


def hardest(target: np.ndarray, predicted: Sequence[np.ndarray]) -> np.ndarray:
    """(M,) ascending indices of the images that most models get wrong, at least one, and at most `SHOWN` per class."""
    wrong = sum((each != target for each in predicted), np.zeros(len(target), int))
    order = np.argsort(-wrong, kind="stable")
    order = order[wrong[order] > 0]
    return np.sort(np.concatenate([order[target[order] == label][:SHOWN] for label in range(len(CLASSES))]))


def cells(study: Study, projected: Iterable[str], masks: str) -> dict[str, Any]:
    """Data of the page's script: `parts`, pictures, outlines of the given masks, and heat maps.

    Pictures are of the `hardest` cells and of those with the ids `projected`.
    """
    found, pictures, outlines, maps = parts(study), {}, {}, {}
    sets = {name: STUDY if name in PARTS else name for name in found}
    shown = {STUDY: dict.fromkeys(projected)}
    for name, part in found.items():
        ids = part.ids[hardest(part.target, list(part.predicted.values()))].tolist()
        shown.setdefault(sets[name], {}).update(dict.fromkeys(ids))
    manifests = {name: read_manifest(name) for name in shown}
    for name, ids in shown.items():
        places = {id: place for place, id in enumerate(manifests[name]["id"])}
        packed = read_pixels(name)
        with read_masks(name, masks) as stored:
            for id in ids:
                pictures[_key(name, id)] = picture(packed[places[id]])
                outlines[_key(name, id)] = outline(centre_crop(stored[id], study.crop))
    with np.load(RUNS / f"{study.best_network}-{study.first}/predict/maps.npz") as stored:
        for part in PARTS:
            if f"{part}/ids" in stored:
                heats = zip(stored[f"{part}/ids"].tolist(), stored[f"{part}/maps"], strict=True)
                maps |= {id: base64.b64encode(heat.tobytes()).decode() for id, heat in heats if id in pictures}
    described = {name: _description(sets[name], part, manifests[sets[name]]) for name, part in found.items()}
    return {"classes": list(CLASSES), "parts": described, "pictures": pictures, "outlines": outlines, "maps": maps}


def _key(image_set: str, id: str) -> str:
    """An image's name on the page: two sets may have the same ids."""
    return id if image_set == STUDY else f"{image_set}/{id}"


def _description(image_set: str, part: Part, manifest: pd.DataFrame) -> dict[str, Any]:
    models, group = list(part.predicted), patients(manifest, part.ids)
    f1, low, high = pairwise_differences(part.target, np.stack(list(part.predicted.values())), group)
    return {
        "ids": [_key(image_set, id) for id in part.ids.tolist()],
        "target": part.target.tolist(),
        "models": {
            model: {
                "predicted": part.predicted[model].tolist(),
                "percent": np.round(100 * part.confidence[model]).astype(int).tolist(),
                "f1": round(float(f1[i]), 4),
                "low": dict(zip(models, low[i].round(4).tolist(), strict=True)),
                "high": dict(zip(models, high[i].round(4).tolist(), strict=True)),
            }
            for i, model in enumerate(models)
        },
    }


def picture(image: np.ndarray) -> str:
    """A small copy of (H, W, 3) uint8 RGB, as a data URL."""
    image = resize(image, SIZE) if len(image) > SIZE else image
    content = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def outline(mask: np.ndarray) -> str:
    """The outlines of cell and nucleus of an (H, W) mask, as an SVG path in percent of the image."""
    found = []
    for inside in (mask > 0, mask == 2):
        contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            line = cv2.approxPolyDP(contour, len(mask) / 150, True)[:, 0] * (100 / np.array(mask.shape[::-1]))
            if len(line) > 2:
                found.append("M" + " ".join(f"{x:.0f},{y:.0f}" for x, y in line) + "Z")
    return "".join(found)
