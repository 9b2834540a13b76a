"""Public sets of labelled white blood cells: where each lies, what its licence allows, and what its labels mean.

The facts are from the sets' pages and from readers that others published. `public_labels.csv` gives for each label of a
set our class, none for cells that are none of ours, and the number of images in the archive, where it is published.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from wbc.core.classes import CLASSES


class Label(NamedTuple):
    """One of a set's own labels."""

    ours: str  # one of `CLASSES`, or "" where it is none of them: such images are left out, and counted
    images: int | None = None  # in the archive; None where nobody says


class PublicSet(NamedTuple):
    """A set as its publisher offers it."""

    title: str
    page: str
    licence: str  # as the page names it
    images: int  # in the archive
    labels: Mapping[str, Label]  # by the set's own label
    size: str = "see the page"  # size of the download
    image_bytes: int | None = None  # bytes of all images in the archive; None where nobody says
    files: Mapping[str, str] = {}  # addresses of archives that need no form and no login; Zenodo's by DOI, with MD5
    steps: str = ""  # what a person has to do where a form or a login stands in the way
    forbids: str = ""  # what the licence forbids that a user of this repository might do
    patients: bool = False  # whether each image's patient is known
    tried: str = "its layout, drawn in the tests; nobody has opened the archive"  # how far its source is tested


def _read_labels() -> dict[str, dict[str, Label]]:
    """The labels of each set in public_labels.csv."""
    labels = defaultdict(dict)
    with Path(__file__).with_name("public_labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            labels[row["set"]][row["label"]] = Label(row["class"], int(row["images"]) if row["images"] else None)
    return labels


MENDELEY = "https://data.mendeley.com/public-files/datasets/snkd93bnjr/files/2fc38728-2ae7-4a62-a857-032af82334c3"
LABELS = _read_labels()

SETS = {
    "pbc": PublicSet(
        title="Peripheral blood cells of healthy people, Barcelona (Acevedo et al. 2020)",
        page="https://data.mendeley.com/datasets/snkd93bnjr/1",
        licence="CC BY 4.0",
        size="280 MB",
        images=17092,
        labels=LABELS["pbc"],  # the folder, with the file name's prefix where it holds several classes
        image_bytes=281_233_720,
        files={"PBC_dataset_normal_DIB.zip": f"{MENDELEY}/file_downloaded"},
        steps="open the page, Download All, and put the zip file there",  # Mendeley may ask whether one is a person
        tried="6,834 of its images in the archive's layout",
    ),
    "aml_lmu": PublicSet(
        title="Acute myeloid leukaemia and controls, Munich (Matek et al. 2019)",
        page="https://www.cancerimagingarchive.net/collection/aml-cytomorphology_lmu/",
        licence="CC BY 3.0",
        size="11 GB",
        images=18365,
        labels=LABELS["aml_lmu"],
        steps="install IBM Aspera Connect, open the page, download the images, and annotations.dat beside them",
    ),
    "mll23": PublicSet(
        title="Leukaemias and controls, Munich Leukemia Laboratory (MLL23, 2025)",
        page="https://zenodo.org/records/14277609",
        licence="see the page",
        size="about 9 GB",  # estimated from five of its 18 files: 225 KB per image
        images=41621,
        labels=LABELS["mll23"],
        files={f"{label}.zip": f"doi:10.5281/zenodo.14277609/{label}.zip" for label in LABELS["mll23"]},
    ),
    "apl_aml": PublicSet(
        title="Acute promyelocytic and other myeloid leukaemias, Johns Hopkins (Sidhom et al. 2021)",
        page="https://www.kaggle.com/datasets/eugeneshenderov/acute-promyelocytic-leukemia-apl",
        licence="see the page",
        images=15632,  # signed slides
        patients=True,
        labels=LABELS["apl_aml"],  # the folder below "Signed slides"
        steps="log in to Kaggle, open the page, Download, and put the zip file there",
    ),
    "wbcbench_hf": PublicSet(
        title="WBCBench 2026 with patients, on Hugging Face",
        page="https://huggingface.co/datasets/Xin-Tian/wbcbench2026",
        licence="CC BY-NC 4.0",
        forbids="commercial use, passing the images on, and looking for who the patients are",
        images=55012,  # without degraded copies; the challenge published the labels of 38,535
        patients=True,
        labels={label: Label(label) for label in CLASSES},
        steps="log in to Hugging Face, ask for access on the page, and once it is granted put its parquet files there",
    ),
}


def warnings(sources: str | Sequence[str]) -> list[str]:
    """What the licences of the chosen sources forbid, a line each."""
    names = [sources] if isinstance(sources, str) else sources
    chosen = {name: SETS[name] for name in names if name in SETS and SETS[name].forbids}
    return [f"{name}: its licence, {it.licence}, forbids {it.forbids}" for name, it in chosen.items()]
