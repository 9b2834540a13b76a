"""APL and AML patients of Johns Hopkins: `Patient_<n>/[<session>/]Signed slides/<class>/<PREFIX>_<number>.jpg`.

A person signed the slide, so its folder is the label. The prefix is the analyser's first guess, which differs at times,
and "Unsigned slides" have nothing else: they are left out and counted. The slides of 11 patients lie in a folder of
their session, named by date and time. The group is the patient, and an ID is `<patient>/[<session>/]<class>/<name>`.
Seven signed images are known to be cut short; `ingest` rejects them. An image in any other place stops everything,
since only one public program that reads the set was seen.
"""

import re
from pathlib import Path

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, SourceError

SIGNED, UNSIGNED = "Signed slides", "Unsigned slides"
LAYOUT = f"a folder per patient, Patient_<n>/{SIGNED}/<class>"
PLACE = re.compile(rf"(?:^|/)((Patient_\d+)/(?:[^/]+/)?)({SIGNED}|{UNSIGNED})/(.+)$")


def items(root: Path) -> list[Item]:
    found = []
    for path in ImageFolder(root).paths:
        place = path.relative_to(root).as_posix()
        placed = PLACE.search(place)
        if not placed:
            raise SourceError(f"{path}: expected below Patient_<n>/{SIGNED} or {UNSIGNED}")
        before, patient, slides, rest = placed.groups()
        if slides == UNSIGNED:
            found.append(Item(before + rest, path, "", "", group=patient, left_out="unsigned slide"))
        elif rest.count("/") != 1:
            raise SourceError(f"{path}: expected Patient_<n>/{SIGNED}/<class>/<name>")
        else:
            found.append(Item(before + rest, path, rest.partition("/")[0], "", group=patient))
    return found
