"""AML-Cytomorphology_LMU: `<CODE>/<CODE>_<number>.tiff` at any depth, and one `annotations.dat` that lists them.

The list has no header. In a line stand, between blanks, a path `<CODE>/<name>`, the label of the original annotation,
which counts, and up to two of a second annotation, `nan` or nothing where there is none. MYB is a myelocyte, MYO a
myeloblast. An ID is the path; 200 patients gave the cells, but nothing says which.

An image is rejected where its label is not its folder's. A folder `augmented`, which some copies of the archive have,
holds mirrored images: they would leak, so it is refused.
"""

from collections import defaultdict
from pathlib import Path, PurePosixPath

from wbc.dataset.listing import ImageFolder
from wbc.sources import Item, SourceError

LIST = "annotations.dat"
LAYOUT = f"AML-Cytomorphology_LMU, unpacked: a folder per class, and {LIST}"


def items(root: Path) -> list[Item]:
    lists = sorted(root.rglob(LIST))
    if len(lists) != 1:
        several = " and ".join(path.relative_to(root).as_posix() for path in lists)
        why = f"both {several}; keep one" if lists else f"no {LIST}; expected {LAYOUT}"
        raise SourceError(f"{root}: {why}")
    if mirrored := next(root.rglob("augmented"), None):
        raise SourceError(f"{mirrored}: mirrored images, which are not the archive's: take this folder out")
    places = defaultdict(list)  # by what the list calls it
    for path in ImageFolder(root).paths:
        places["/".join(path.parts[-2:])].append(path)
    found = []
    for listed, label in _lines(lists[0]):
        folder, paths = listed.partition("/")[0], places.get(listed, [])
        if len(paths) != 1:
            where = " or ".join(path.relative_to(root).as_posix() for path in paths)
            found.append(Item(listed, None, label, "", fault=f"ambiguous: {where}" if paths else "no such file"))
        elif label != folder:
            found.append(
                Item(listed, paths[0], label, "", fault=f"annotation contradicts the folder: {label} in {folder}")
            )
        else:
            found.append(Item(listed, paths[0], label, ""))
    return found


def _lines(table: Path) -> list[tuple[str, str]]:
    """Folder and name, and the original label, of each line that is not blank."""
    found = []
    for number, line in enumerate(table.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match line.split():
            case []:
                continue
            case [path, label] | [path, label, _] | [path, label, _, _]:
                found.append(("/".join(PurePosixPath(path).parts[-2:]), label))
            case values:
                raise SourceError(f"{table}: line {number} has {len(values)} values; expected 2 to 4: path and labels")
    return found
