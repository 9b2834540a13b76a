"""AML-Cytomorphology_LMU: `<CODE>/<CODE>_<number>.tiff` at any depth, and one `annotations.dat` that lists them.

Each line of the list has, between blanks, a path `<CODE>/<name>`, the label of the original annotation, which counts,
and up to two of a second annotation. MYB is a myelocyte, MYO a myeloblast. An ID is the path. Patients are not named.

An image is rejected where its label is not its folder. A folder `augmented`, which some copies of the archive have, is
an error: its mirrored images would leak.
"""

from collections import defaultdict
from pathlib import PurePosixPath

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, SourceError

LIST = "annotations.dat"
LAYOUT = f"AML-Cytomorphology_LMU, unpacked: a folder per class, and {LIST}"


def items(folder: ImageFolder) -> list[Item]:
    root = folder.root
    lists = sorted(root.rglob(LIST))
    if len(lists) != 1:
        several = " and ".join(path.relative_to(root).as_posix() for path in lists)
        why = f"both {several}; keep one" if lists else f"no {LIST}; expected {LAYOUT}"
        raise SourceError(f"{root}: {why}")
    if mirrored := next(root.rglob("augmented"), None):
        raise SourceError(f"{mirrored}: mirrored images, which are not the archive's: take this folder out")
    by_name = defaultdict(list)
    for path in folder.paths:
        by_name["/".join(path.parts[-2:])].append(path)
    found = []
    for number, line in enumerate(lists[0].read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        values = line.split()
        if len(values) not in (0, 2, 3, 4):
            raise SourceError(f"{lists[0]}: line {number} has {len(values)} values; expected 2 to 4: path and labels")
        if values:
            id, label = "/".join(PurePosixPath(values[0]).parts[-2:]), values[1]
            paths, code = by_name[id], id.partition("/")[0]
            path, fault = paths[0] if len(paths) == 1 else None, ""
            if not path:
                where = " or ".join(path.relative_to(root).as_posix() for path in paths)
                fault = f"ambiguous: {where}" if paths else "no such file"
            elif label != code:
                fault = f"annotation contradicts the folder: {label} in {code}"
            found.append(Item(id, path, label, fault=fault))
    return found
