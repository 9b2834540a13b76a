"""Classify new images with a trained model, score the predictions where labels are known, and show the evidence."""

import glob
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch

from wbc.cli import write_table
from wbc.config.schema import TTA
from wbc.core.classes import CLASSES
from wbc.core.errors import UserError
from wbc.core.io import check_writable, write_json
from wbc.core.parallel import parallel_map
from wbc.dataset.images import SUFFIXES, decode, write_jpeg
from wbc.dataset.listing import ImageFolder, ListError, is_image, read_rows
from wbc.dataset.pack import centre_crop, resize
from wbc.models.inputs import ImageInputs, read_inputs
from wbc.models.model import Inputs, Model, load
from wbc.network.explain import layer_cam_maps
from wbc.network.inference import BATCH, choose_device
from wbc.network.model import NO_TTA, REPORT_TTA, Network
from wbc.network.pixels import Pixels
from wbc.scoring.scores import confusion_matrix
from wbc.statistics import intervals, patients

NOVEL = "unlike the training images: farther than 99% of held-out cells"
TITLES = {"f1": "macro F1", "accuracy": "accuracy", "f1_common": "macro F1 without classes of fewer than 5 images"}
Labels = Mapping[Path, tuple[str, str]]  # by file, the label as written and the group, "" where unknown


class Prediction(NamedTuple):  # an unreadable file has only a note
    image: str
    label: str = ""
    probability: float | None = None
    runner_up: str = ""
    runner_up_probability: float | None = None
    note: str = ""


def run(options: Namespace) -> None:
    """Write one line per image or a page, scores if labels are known, and pictures with `--explain`."""
    files, model = find_images(options.images), load(options.model)
    labels, faults = read_labels(options.images, options.labels)
    if not model.network and (options.tta or options.explain):
        raise UserError(f"{options.model}: --tta and --explain need a network; this is a classical model")
    scores = options.out.with_suffix(".scores.json") if options.out and labels else None
    for path in filter(None, (options.out, options.html, scores, options.explain and options.explain / "00001.jpg")):
        check_writable(path)
    device = choose_device()
    predictions = list(classify(model, files, device, REPORT_TTA if options.tta else NO_TTA))
    if options.out or not options.html:
        write_table(options.out, Prediction._fields, predictions)
    if options.html:
        from wbc.cli.cells_page import write_page  # it imports this module

        write_page(options.html, predictions, model, str(options.model), device)
        print(f"{len(predictions)} cells in {options.html}")
    if labels:
        found = score(predictions, labels, faults, model.unseen)
        print(format_scores(found), file=sys.stdout if scores else sys.stderr)  # a pipe takes the table alone
        if scores:
            write_json(scores, found)
    for number, (file, each) in enumerate(zip(files, predictions, strict=True), 1):
        if options.explain and each.label:
            picture = explain(model.network, decode(file.read_bytes()), each.label, each.probability)
            write_jpeg(options.explain / f"{number:05d}-{file.stem}-{each.label}.jpg", picture)
    if unread := sum(not each.label for each in predictions):
        sys.exit(f"error: {unread} of {len(files)} files could not be read; the notes say why")


def find_images(patterns: Sequence[str]) -> list[Path]:
    """The image files that folders (searched recursively, without hidden files), files and patterns name, sorted.

    Raises:
        UserError: a pattern names no image.
    """
    found = set()
    for path in map(Path, patterns):
        if path.is_dir():
            folder = ImageFolder(path)
            files = {*folder.paths, *folder.unread}
        else:
            matches = [path] if path.exists() else filter(is_image, map(Path, glob.glob(str(path))))
            files = set(filter(Path.is_file, matches))
        if not files:
            raise UserError(f"{path}: no image; expected a file, a folder or a pattern of {', '.join(SUFFIXES)}")
        found |= files
    return sorted(found)


def classify(model: Model, files: Sequence[Path], device: torch.device, tta: TTA = NO_TTA) -> Iterator[Prediction]:
    """Predict image files in their order, with calibrated probabilities; `device` and `tta` are the network's.

    Notes name unreadable files, novel images (`wbc.scoring.novelty`) and images in which no whole cell was found.
    """
    tasks = ((file, *model.input_spec) for file in files)
    inputs = parallel_map(read_inputs, tasks, len(files), "classify", threads=not model.input_spec.features)
    pairs = zip(files, inputs, strict=True)
    while batch := list(islice(pairs, BATCH)):
        predictions = _predict(model, [pair for pair in batch if isinstance(pair[1], ImageInputs)], device, tta)
        for file, image in batch:
            yield next(predictions) if isinstance(image, ImageInputs) else Prediction(str(file), note=image)


def _predict(model: Model, pairs: Sequence[tuple], device: torch.device, tta: TTA) -> Iterator[Prediction]:
    """Predict pairs of a file and its `ImageInputs`; a generator, so nothing is computed if no pair is readable."""
    spec, index = model.input_spec, np.arange(len(pairs))
    pixels = Pixels(np.stack([image.pixels for _, image in pairs]), index, device) if spec.pixels else None
    inputs = Inputs(pixels, np.stack([image.features for _, image in pairs]) if spec.features else None)
    novelty = model.novelty(inputs)
    top = torch.from_numpy(model.probabilities(inputs, tta)).topk(2)
    for i, (file, image) in enumerate(pairs):
        notes = [NOVEL] if novelty is not None and novelty[i] > 1 else []
        notes += ["no whole cell found"] if image.bad_mask else []
        (first, second), (best, other) = top.values[i].tolist(), top.indices[i].tolist()
        yield Prediction(str(file), CLASSES[best], first, CLASSES[other], second, "; ".join(notes))


def read_labels(patterns: Sequence[str], table: Path | None) -> tuple[Labels, list[str]]:
    """The labels of images in folders, and why lines of a list label no image.

    The list `ID,labels[,group]` is `table`, or each folder's own `labels.csv`. Without a list, the label is the name
    of a subfolder that is a class.

    Raises:
        UserError: `table` cannot be read or labels no image.
    """
    labels, faults = {}, []
    folders = [Path(pattern) for pattern in patterns if Path(pattern).is_dir()]
    for folder in folders:
        images, rows, own = ImageFolder(folder), [], folder / "labels.csv"
        if not table and not own.exists():
            for file in images.paths:
                names = [name for name in file.relative_to(folder).parts[:-1] if name in CLASSES]
                labels[file] = (names[-1] if names else "", "")
            continue
        try:
            rows = read_rows(table or own, ("ID", "labels"))
        except ListError as error:
            if table:
                raise
            print(f"no scores: {error}", file=sys.stderr)
        for row in rows:
            file = images.find(row["ID"])
            if isinstance(file, str):
                faults.append(f"in the list: {file.partition(':')[0]}")
            elif labels.setdefault(file, (row["labels"], row.get("group", "")))[0] != row["labels"]:
                faults.append("in the list: id under two labels")
                labels[file] = ("", "")
    labels = {file: known for file, known in labels.items() if known[0]}
    if table and not labels:
        names = ", ".join(map(str, folders)) or "the arguments, which name no folder"
        raise UserError(f"{table}: labels no image in {names}; name the folder of its images")
    return labels, faults


def score(predictions: Sequence[Prediction], labels: Labels, faults: Sequence[str], unseen: Collection[int]) -> dict:
    """Macro F1 over the classes that the images have, accuracy, their 95% intervals, and the confusion matrix.

    Images of `unseen` classes, which the model cannot predict, count as wrong.
    """
    known = [(each.image, *labels.get(Path(each.image), ("", "")), each.label) for each in predictions]
    table = pd.DataFrame(known, columns=["id", "label", "group", "predicted"])
    reason = ("unknown label " + table["label"].map(repr)).where(table["label"] != "", "no label")
    reason = reason.where(table["predicted"] != "", "unreadable")
    used = table["label"].isin(CLASSES) & (table["predicted"] != "")
    table = table[used]
    target, prediction = (table[name].map(CLASSES.index).to_numpy("int64") for name in ("label", "predicted"))
    found = {"images": len(table)}
    if len(table):
        for name, it in intervals(target, prediction, patients(table, table["id"])).items():
            found |= {name: it.value, f"{name}_low": it.low, f"{name}_high": it.high}
    shown = [label for label in CLASSES if label in {*table["label"], *table["predicted"]}]
    confusion = pd.DataFrame(confusion_matrix(target, prediction), CLASSES, CLASSES).loc[shown, shown]
    never_seen = table["label"][table["label"].isin([CLASSES[c] for c in unseen])]
    counts = {"left_out": Counter([*faults, *reason[~used]]), "never_seen": Counter(never_seen)}
    return found | {"confusion": confusion.to_dict("index")} | counts


def format_scores(found: dict) -> str:
    """The result of `score` as text."""
    text = [f"{found['images']} images with a label"]
    for name in [name for name in TITLES if name in found]:
        low, high = found[f"{name}_low"], found[f"{name}_high"]
        text.append(f"{TITLES[name]} {found[name]:.3f} (95% interval {low:.3f}–{high:.3f})")
    text += [f"left out, {why}: {count}" for why, count in found["left_out"].items()]
    text += [f"{c}: {n} images of a class that the model cannot predict" for c, n in found["never_seen"].items()]
    if found["images"]:
        confusion = pd.DataFrame.from_dict(found["confusion"], "index").to_string()
        text += ["confusion matrix: true class down, prediction across", confusion]
    return "\n".join(text)


def explain(network: Network, image: np.ndarray, label: str, probability: float) -> np.ndarray:
    """A (H, W, 3) uint8 RGB image under the LayerCAM heat map of a class, above a strip that names it.

    Raises:
        UserError: the backbone has no feature map.
    """
    cropped, (height, width) = centre_crop(image, network.crop), image.shape[:2]
    pixels = Pixels(resize(cropped, network.size)[None], np.arange(1), torch.device("cpu"))
    (heat,) = layer_cam_maps(network, pixels, np.arange(1), np.array([CLASSES.index(label)]))
    heat_map = np.zeros((height, width), np.float32)  # 0 in the border that the network does not see
    centre_crop(heat_map, network.crop)[:] = cv2.resize(heat, cropped.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    colours = cv2.applyColorMap(np.uint8(255 * heat_map.clip(0, 1)), cv2.COLORMAP_TURBO)[..., ::-1]
    overlay = cv2.addWeighted(image, 0.6, colours, 0.4, 0)
    text, font = f"{label} {probability:.2f}", cv2.FONT_HERSHEY_SIMPLEX
    scale = min(1, 0.95 * width / cv2.getTextSize(text, font, 1, 1)[0][0])
    strip = np.full((round(36 * scale), width, 3), 255, np.uint8)
    cv2.putText(strip, text, (width // 40, round(26 * scale)), font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([overlay, strip])
