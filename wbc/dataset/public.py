"""Public sets of labelled white blood cells: where each lies, what it allows, and which of its labels are ours.

Nobody has read one of the archives with this code yet. What is written here was read in the pages named below and in
the readers that others published, so a source is strict: it stops at a label that its set does not list.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from wbc.core.classes import CLASSES


class Label(NamedTuple):
    """One of a set's own labels."""

    ours: str  # one of `wbc.core.classes.CLASSES`, "" where it is none of them: such images are left out, and counted
    images: int | None = None  # that the archive has, None where nobody says


class File(NamedTuple):
    """A file with an address that needs no form and no login."""

    name: str  # as it is stored
    url: str
    sha256: str = ""  # "" where it is not published; `PublicSet.checksums` may then say


class PublicSet(NamedTuple):
    """A set as its publisher offers it."""

    title: str
    page: str  # for people
    licence: str  # as the page names it
    forbids: str  # what it forbids that a user of this repository might do, "" where nothing
    size: str  # of the download
    images: int  # in the archive
    patients: bool  # whether each image's is known
    labels: Mapping[str, Label]  # by the set's own label
    files: tuple[File, ...] = ()
    checksums: str = ""  # the address of a Zenodo record, which has size and MD5 of every file
    steps: str = ""  # what a person has to do where a form or a login stands in the way
    tried: str = "its layout, drawn in the tests; nobody has opened the archive"  # how far its source is tested


MLL23 = "https://zenodo.org/api/records/14277609"
MLL23_LABELS = {
    "neutrophil_segmented": Label("SNE", 7170),
    "neutrophil_band": Label("BNE", 687),
    "eosinophil": Label("EO", 2448),
    "basophil": Label("BA", 616),
    "lymphocyte": Label("LY", 5532),
    "lymphocyte_reactive": Label("VLY", 33),
    "monocyte": Label("MO", 2510),
    "metamyelocyte": Label("MMY", 483),
    "myelocyte": Label("MY", 747),
    "promyelocyte": Label("PMY", 745),
    "myeloblast": Label("BL", 8606),
    "plasma_cell": Label("PC", 1658),
    "hairy_cell": Label("", 3265),
    "normoblast": Label("", 2071),
    "promyelocyte_atypical": Label("", 2033),
    "lymphocyte_large_granular": Label("", 1849),
    "smudge_cell": Label("", 988),
    "lymphocyte_neoplastic": Label("", 180),
}

SETS = {
    "pbc": PublicSet(
        title="Peripheral blood cells of healthy people, Barcelona (Acevedo et al. 2020)",
        page="https://data.mendeley.com/datasets/snkd93bnjr/1",
        licence="CC BY 4.0",
        forbids="",
        size="280 MB",
        images=17092,
        patients=False,
        labels={  # the folder, and where that holds several classes the file name's prefix too
            "neutrophil/SNE": Label("SNE", 1646),
            "neutrophil/BNE": Label("BNE", 1633),
            "neutrophil/NEUTROPHIL": Label("", 50),
            "eosinophil": Label("EO", 3117),
            "basophil": Label("BA", 1218),
            "lymphocyte": Label("LY", 1214),
            "monocyte": Label("MO", 1420),
            "ig/MMY": Label("MMY", 1015),
            "ig/MY": Label("MY", 1137),
            "ig/PMY": Label("PMY", 592),
            "ig/IG": Label("", 151),
            "erythroblast": Label("", 1551),
            "platelet": Label("", 2348),
        },
        files=(
            File(
                "PBC_dataset_normal_DIB.zip",
                "https://data.mendeley.com/public-files/datasets/snkd93bnjr/files/"
                "2fc38728-2ae7-4a62-a857-032af82334c3/file_downloaded",
            ),
        ),
        steps="open the page, Download All, and put the zip file there",  # Mendeley may ask whether one is a person
        tried="6,834 of its images in the archive's layout",
    ),
    "aml_lmu": PublicSet(
        title="Acute myeloid leukaemia and controls, Munich (Matek et al. 2019)",
        page="https://www.cancerimagingarchive.net/collection/aml-cytomorphology_lmu/",
        licence="CC BY 3.0",
        forbids="",
        size="11 GB",
        images=18365,
        patients=False,
        labels={
            "NGS": Label("SNE", 8484),
            "NGB": Label("BNE", 109),
            "EOS": Label("EO", 424),
            "BAS": Label("BA", 79),
            "LYT": Label("LY", 3937),
            "LYA": Label("VLY", 11),
            "MON": Label("MO", 1789),
            "MMZ": Label("MMY", 15),
            "MYB": Label("MY", 42),
            "PMO": Label("PMY", 70),
            "MYO": Label("BL", 3268),
            "MOB": Label("BL", 26),
            "EBO": Label("", 78),
            "KSC": Label("", 15),
            "PMB": Label("", 18),
        },
        steps="install IBM Aspera Connect, open the page, download the images, and annotations.dat beside them",
    ),
    "mll23": PublicSet(
        title="Leukaemias and controls, Munich Leukemia Laboratory (MLL23, 2025)",
        page="https://zenodo.org/records/14277609",
        licence="see the page",
        forbids="",
        size="about 9 GB",  # estimated from five of its 18 files, which have 225 KB per image
        images=41621,
        patients=False,
        labels=MLL23_LABELS,
        files=tuple(File(f"{label}.zip", f"{MLL23}/files/{label}.zip/content") for label in MLL23_LABELS),
        checksums=MLL23,
    ),
    "apl_aml": PublicSet(
        title="Acute promyelocytic and other myeloid leukaemias, Johns Hopkins (Sidhom et al. 2021)",
        page="https://www.kaggle.com/datasets/eugeneshenderov/acute-promyelocytic-leukemia-apl",
        licence="see the page",
        forbids="",
        size="see the page",
        images=15632,  # of signed slides
        patients=True,
        labels={  # the folder below "Signed slides", spelled as there; how many images each has is printed nowhere
            "Segmented neutrophils": Label("SNE"),
            "Band neutrophils": Label("BNE"),
            "Eosinophils": Label("EO"),
            "Basophil": Label("BA"),
            "Lymphocyte": Label("LY"),
            "Lymphocyte, variant": Label("VLY"),
            "Prolymphocyte": Label("PLY"),
            "Monocyte": Label("MO"),
            "Metamyelocyte": Label("MMY"),
            "Myelocyte": Label("MY"),
            "Promyelocyte": Label("PMY"),
            "Blast, no lineage spec": Label("BL"),
            "Plasma cells": Label("PC"),
            "Promonocyte": Label(""),
            "Erythroblast": Label(""),
            "Giant thrombocyte": Label(""),
            "Thrombocyte aggregation": Label(""),
            "Smudge cells": Label(""),
            "Arifact": Label(""),
            "Unidentified": Label(""),
            "Young Unidentified": Label(""),
        },
        steps="log in to Kaggle, open the page, Download, and put the zip file there",
    ),
    "wbcbench_hf": PublicSet(
        title="WBCBench 2026 with patients, on Hugging Face",
        page="https://huggingface.co/datasets/Xin-Tian/wbcbench2026",
        licence="CC BY-NC 4.0",
        forbids="commercial use, passing the images on, and looking for who the patients are",
        size="see the page",
        images=55012,  # without the degraded copies; of 38,535 the challenge published the labels
        patients=True,
        labels={label: Label(label) for label in CLASSES},
        steps="log in to Hugging Face, ask for access on the page, and once it is granted put its parquet files there",
    ),
}


def warnings(sources: str | Sequence[str]) -> list[str]:
    """What the licences forbid of the sources chosen, a line each."""
    names = [sources] if isinstance(sources, str) else sources
    chosen = {name: SETS[name] for name in names if name in SETS}
    return [f"{name}: its licence, {it.licence}, forbids {it.forbids}" for name, it in chosen.items() if it.forbids]
