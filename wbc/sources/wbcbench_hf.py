"""WBCBench 2026 as on Hugging Face, with patients, unpacked from its parquet files by `python -m wbc fetch`.

`labels.csv`, in the folder or in one below, has the columns `COLUMNS`. Each image lies beside it in `images/` under its
ID. The group is the patient. All labelled images are one pool, whatever the challenge's split. Left out are images
without a label, and degraded copies: images whose `original` is another labelled image of the list.
"""

from dataclasses import replace

from wbc.dataset.listing import ImageFolder, read_rows
from wbc.sources import Item, SourceError, read_list

COLUMNS = ("ID", "labels", "group", "split", "severity", "original")
LAYOUT = "labels.csv and images/, unpacked from the parquet files"


def items(folder: ImageFolder) -> list[Item]:
    root, tables = folder.root, sorted(folder.root.rglob("labels.csv"))
    if not tables:
        raise SourceError(f"{root}: no labels.csv; python -m wbc fetch wbcbench_hf {root} unpacks the parquet files")
    if len(tables) > 1:
        raise SourceError(f"{root}: both {tables[0].relative_to(root)} and {tables[1].relative_to(root)}; keep one")
    rows, found = read_rows(tables[0], COLUMNS), read_list(tables[0], ImageFolder(tables[0].with_name("images")))
    labelled = {item.id for item in found if item.label}
    for place, (row, item) in enumerate(zip(rows, found, strict=True)):
        if not item.label:
            found[place] = replace(item, left_out="no label")
        elif row["original"] != item.id and row["original"] in labelled:
            found[place] = replace(item, left_out="degraded copy")
    return found
