"""WBCBench 2026 as on Hugging Face, with patients: what `wbc.cli.parquet.unpack` makes of its parquet files.

`labels.csv`, in the folder or in one below, has the columns `COLUMNS`, and beside it each image lies in `images/` under
its ID. The group is the patient. All labelled images are one pool, whatever the challenge's split: `ingest` holds back
patients of its own, as it holds back images of `wbcbench`. Left out and counted are

- images without a label,
- degraded copies: those made from an `original` that is in the list too, under another ID and with a label. Where the
  originals were not downloaded, the copies stay, as they are the images of the challenge.
"""

from dataclasses import replace
from pathlib import Path

from wbc.dataset.listing import ImageFolder, read_rows
from wbc.sources import Item, SourceError, listed

COLUMNS = ("ID", "labels", "group", "split", "severity", "original")
LAYOUT = "labels.csv and images/, unpacked from the parquet files"


def items(root: Path) -> list[Item]:
    tables = sorted(root.rglob("labels.csv"))
    if not tables:
        raise SourceError(f"{root}: no labels.csv; python -m wbc fetch wbcbench_hf {root} unpacks the parquet files")
    if len(tables) > 1:
        raise SourceError(f"{root}: both {tables[0].relative_to(root)} and {tables[1].relative_to(root)}; keep one")
    rows, found = read_rows(tables[0], COLUMNS), listed(tables[0], ImageFolder(tables[0].with_name("images")))
    labelled = {item.id for item in found if item.label}
    for place, (row, item) in enumerate(zip(rows, found, strict=True)):
        if not item.label:
            found[place] = replace(item, left_out="no label")
        elif row["original"] != item.id and row["original"] in labelled:
            found[place] = replace(item, left_out="degraded copy")
    return found
