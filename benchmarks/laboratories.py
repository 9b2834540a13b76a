"""What a linear model on each set of handcrafted features makes of another laboratory's cells.

    python -m benchmarks.laboratories HOME AWAY… --json laboratories.json

HOME holds real cells in the project's layout (`images/` and `labels.csv`), on which LDA is fitted. AWAY are CSV files
of other laboratories with the columns `image` and `class`, the images in a folder of the file's name without its
ending, as of Zheng et al. 2018: five coarse classes. SNE and BNE are their neutrophils; whoever names another class is
wrong.

For every set: the accuracy at home, out of five folds, and on each of the others, with its 95% interval and what is
flagged as unusual, and the AUROC of the distance that flags against that of the cells held out at home. `--features v3
v4` chooses the sets, all on masks of `--masks polar`.
"""

import argparse
import json
import sys
from pathlib import Path

from wbc.core.compute import pin
from wbc.core.errors import UserError

COARSE = {"SNE": "neutrophil", "BNE": "neutrophil", "LY": "lymphocyte", "MO": "monocyte", "EO": "eosinophil"}
COARSE |= {"BA": "basophil"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="holds images/ and labels.csv")
    parser.add_argument("away", type=Path, nargs="+", help="CSV files of other laboratories' images")
    parser.add_argument("--features", nargs="+", default=["v3", "v4"], help="feature sets (default: v3 v4)")
    parser.add_argument("--masks", default="polar", help="the segmentation (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    pin(2, "native")
    try:
        results = compare(arguments.home, arguments.away, arguments.features, arguments.masks)
    except UserError as error:
        sys.exit(f"error: {error}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def compare(home: Path, away: list[Path], sets: list[str], masks: str) -> dict[str, dict]:
    import numpy as np
    from scipy.stats import binomtest
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    from wbc.classical.model import fit_reference
    from wbc.classical.models import classifiers, cross_validate, probabilities
    from wbc.core.classes import CLASSES
    from wbc.core.tables import SUBMISSION
    from wbc.dataset.listing import read_rows

    listed = read_rows(home / "labels.csv", SUBMISSION)
    target = np.array([CLASSES.index(line["labels"]) for line in listed])
    fold = np.empty(len(target), int)
    for number, (_, held) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(target, target)):
        fold[held] = number
    others = {file.stem: read_rows(file, ("image", "class")) for file in away}
    files = [home / "images" / line["ID"] for line in listed]
    files += [file.with_suffix("") / line["image"] for file in away for line in others[file.stem]]
    truth = {name: np.array([line["class"] for line in lines]) for name, lines in others.items()}
    ends = np.cumsum([len(target), *map(len, truth.values())])
    lda = {"lda": classifiers("hist", False, 0)["lda"]}
    results = {}
    for name in sets:
        here, *there = np.split(measured(files, name, masks), ends[:-1])
        found = cross_validate(lda, here, target, fold)["lda"]
        predicted = probabilities(found.model, np.concatenate(there)).argmax(1)
        held = np.empty(len(target))  # distances, in thresholds of the model of the other folds
        for number in range(5):
            held[fold == number] = far(
                fit_reference(here[fold != number], target[fold != number], fold[fold != number]), here[fold == number]
            )
        known, start = fit_reference(here, target, fold), 0
        results[name] = {"home": float((found.out_of_fold.argmax(1) == target).mean())}
        print(f"{name}: at home {results[name]['home']:.3f} (n = {len(target)})")
        for (place, classes), values in zip(truth.items(), there, strict=True):
            said = [COARSE.get(CLASSES[c]) for c in predicted[start : start + len(classes)]]
            start += len(classes)
            right, distances = int((np.array(said, object) == classes).sum()), far(known, values)
            low, high = binomtest(right, len(classes)).proportion_ci(method="wilson")
            auroc = roc_auc_score(np.repeat([0, 1], [len(held), len(distances)]), np.append(held, distances))
            results[name][place] = {"right": right, "images": len(classes), "auroc": auroc}
            results[name][place] |= {"unusual": float((distances > 1).mean())}
            print(
                f"  {place}: {right} of {len(classes)}, {right / len(classes):.3f} ({low:.3f}–{high:.3f}); "
                f"unusual {(distances > 1).mean():.3f} (at home {(held > 1).mean():.3f}), AUROC {auroc:.3f}"
            )
    return results


def far(known, values):
    return known.distance(values) / known.threshold


def measured(files: list[Path], features: str, masks: str):
    import numpy as np

    from wbc.core.parallel import parallel_map
    from wbc.models.inputs import read_inputs

    seen = list(parallel_map(read_inputs, ((file, None, (features, masks)) for file in files), len(files), features))
    for file, each in zip(files, seen, strict=True):
        if isinstance(each, str):
            raise UserError(f"{file}: {each}")
    return np.array([each.features for each in seen])


if __name__ == "__main__":
    main()
