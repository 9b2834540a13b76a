"""Prints docs/sources.md: `python -m wbc.cli.sources > docs/sources.md`."""

from wbc.core.classes import CLASSES, NAMES
from wbc.dataset.public import SETS, Label


def markdown() -> str:
    """The text of docs/sources.md."""
    overview, chapters = [], []
    for name, public in SETS.items():
        ours = [label for label in public.labels.values() if label.ours]
        known = all(label.images is not None for label in ours)
        usable = f"{sum(label.images for label in ours):,}" if known else "not known"
        classes, patients = len({label.ours for label in ours}), "yes" if public.patients else "no"
        overview.append(
            f"| [`{name}`]({public.page}) | {public.licence} | {public.images:,} | {usable} | {classes} | {patients} "
            f"| {public.tried} |"
        )
        forbids = f", which forbids {public.forbids}" if public.forbids else ""
        chapters += [
            f"### {name}",
            "",
            f"{public.title}. Licence: {public.licence}{forbids}. Download: {public.size}. [Its page]({public.page}).",
            "",
            f"- Get it: `python -m wbc fetch {name} data/raw`. {_how(name)}",
            f"- Use it: `dvc exp run -S data.source={name}`",
            "",
        ]
    columns = " | ".join(f"`{name}`" for name in SETS)
    rows = [f"| {label}, {NAMES[label]} | {_cells(label)} |" for label in CLASSES]
    return "\n".join(
        [
            HEAD,
            OVERVIEW,
            *overview,
            BETWEEN,
            *chapters,
            LABELS,
            f"| ours | {columns} |",
            f"| --- |{' --- |' * len(SETS)}",
            *rows,
            f"| none: left out and counted | {_cells('')} |",
            FOOT,
        ]
    )


def _how(name: str) -> str:
    public = SETS[name]
    steps = f"{public.steps[:1].upper()}{public.steps[1:]}."
    if not public.files:
        return f"It cannot be downloaded without a person. {steps}"
    return f"Where that fails: {steps[0].lower()}{steps[1:]}" if public.steps else "No login is needed."


def _cells(ours: str) -> str:
    """A set's labels for one of our classes, with the images that it has, in a cell for each set."""
    return " | ".join(
        "<br>".join(_cell(label, known) for label, known in public.labels.items() if known.ours == ours) or "–"
        for public in SETS.values()
    )


def _cell(label: str, known: Label) -> str:
    return f"{label} {known.images:,}" if known.images is not None else label


HEAD = """# Public sets of labelled cells

Written by `python -m wbc.cli.sources > docs/sources.md` from the table in `wbc/dataset/public.py`, where a licence, an
address or a label is corrected.

How to get the challenge's images from Kaggle is in [your-data.md](your-data.md#the-challenges-images-wbcbench-2026).
Most of these sets have other stains, cameras and patients, and some of the 13 classes.
"""

OVERVIEW = """| set | licence | images | of our classes | classes | patients known | tried on |
| --- | --- | ---: | ---: | ---: | --- | --- |"""

BETWEEN = """
- **The labels are the sets' own.** `ingest` translates them by [a table](#the-labels). Images whose label is none of
  our classes are left out; the stage prints how many of each label. A label that the table lacks stops the stage: a
  guess would be a wrong label.
- **A part of an archive** can be used. The stage then prints, by label, how many images there are more than in the
  whole archive, fewer if negative. With `-S data.strict=true` it stops instead.
- **Patients.** Where they are known, all images of one stay on one side of every split. Where they are not, the same
  person's cells are in training and in the test part, so that scores are too high.

## Several at once

```sh
dvc exp run -S 'data.source.sample=[pbc,aml_lmu]'   # the profile's name, as for every list: knobs.md
```

Each then lies in the folder of its name, `data/raw/pbc` and `data/raw/aml_lmu`, which may be a link. `folder`,
`wbcbench` and `kaggle` can be among them. The source's name and a slash come before each id and group.

- Copies are looked for in all images together. Where no source has a test part, it is drawn from all of them, and
  copies stay on one side.
- Where a source has a test part, that is what is tested, and the sources without one are for training alone. An image
  of which another source tests a copy is rejected.
- Copies under two labels, byte for byte or nearly, are rejected in both sources.
- Classes that only one source has are printed. There a network can learn the laboratory, its stain and camera, instead
  of the cell.

## The sets
"""

LABELS = """## The labels

What a set calls each class, with the number of images in its archive where that is known.
"""

FOOT = """
- `pbc`: the folder, and in `ig` and `neutrophil` the file name before its first `_` too.
- `aml_lmu`: the original annotation in `annotations.dat`. MYB is a myelocyte there, MYO a myeloblast.
- `apl_aml`: the folder below "Signed slides", which a person signed, not the file's prefix, which the analyser gave.
- `wbcbench_hf`: the column `label`. Degraded copies of images that are there too are left out.
"""


if __name__ == "__main__":
    print(markdown(), end="")
