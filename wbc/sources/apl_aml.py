"""APL and AML patients of Johns Hopkins: `Patient_<n>/[<session>/]Signed slides/<class>/<PREFIX>_<number>.jpg`.

The label is the folder of a signed slide, which a person confirmed; the prefix is the analyser's first guess. Unsigned
slides have nothing else and are left out. Some patients' slides lie in a folder per session, a date and time. The group
is the patient. An ID is `<patient>/[<session>/]<class>/<name>`. Seven signed images are known to be truncated. An image
in any other place is an error, since only one public program that reads the set was seen.
"""

import re

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, SourceError

SIGNED, UNSIGNED = "Signed slides", "Unsigned slides"
LAYOUT = f"a folder per patient, Patient_<n>/{SIGNED}/<class>"
PLACE = re.compile(rf"(?:^|/)((Patient_\d+)/(?:[^/]+/)?)({SIGNED}|{UNSIGNED})/(.+)$")


def items(folder: ImageFolder) -> list[Item]:
    found = []
    for path in folder.paths:
        place = PLACE.search(path.relative_to(folder.root).as_posix())
        if not place:
            raise SourceError(f"{path}: expected below Patient_<n>/{SIGNED} or {UNSIGNED}")
        session, patient, slides, name = place.groups()
        if slides == SIGNED and name.count("/") != 1:
            raise SourceError(f"{path}: expected Patient_<n>/{SIGNED}/<class>/<name>")
        left_out = "unsigned slide" if slides == UNSIGNED else ""
        found.append(Item(session + name, path, name.partition("/")[0], group=patient, left_out=left_out))
    return found
