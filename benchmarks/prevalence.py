"""Macro F1 of a study with `split.tail` at the class frequencies of its training part.

    python -m benchmarks.prevalence .scratch/studies/pbc_tail

In the folder of a finished study. A tail's test part has other class frequencies than its training part, which changes
the precision of each class. Here every test image counts in proportion to its class's frequency in the report's Table
1, as if the test part were imbalanced too. For each model: macro F1 as tested and so weighted, mean of the repeats, and
the weighted difference from the row that it builds on with its 95% bootstrap interval and its range over the repeats.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from wbc.config.files import load
from wbc.core.classes import CLASSES, TABLE_1
from wbc.report.study import Study
from wbc.statistics import differences, intervals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a study")
    os.chdir(parser.parse_args().folder)
    study = Study(**{key: value for key, value in vars(load("report")).items() if key != "compute"})
    target, _, predicted = study.test
    frequencies = np.array([TABLE_1[label] for label in CLASSES], float)
    print("| model | as tested | at the report's frequencies | compared with | difference, weighted | repeats |")
    print("| --- | ---: | ---: | --- | ---: | ---: |")
    for (name, tta), labels in predicted.items():
        plain, weighted = (intervals(target, labels, None, each)["f1"] for each in (None, frequencies))
        other, cells = study.ladder.get(name, {}).get("from"), ["–", "–", "–"]
        if (other, tta) in predicted:
            it = differences(target, labels, predicted[other, tta], None, frequencies)["f1"]
            each = [
                differences(target, *pair, None, frequencies)["f1"].value
                for pair in zip(labels, predicted[other, tta], strict=True)
            ]
            cells = [
                other,
                f"{it.value:+.3f} ({it.low:+.3f} to {it.high:+.3f})",
                f"{min(each):+.3f} to {max(each):+.3f}",
            ]
        shown = [f"{it.value:.3f} ({it.low:.3f}–{it.high:.3f})" for it in (plain, weighted)]
        print(f"| {name}{' with TTA' if tta else ''} | {' | '.join([*shown, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
