"""Whether two studies put the same models into the same order.

    python -m benchmarks.order plots/results.csv studies/pbc_tail/results.csv

Spearman's rank correlation of the macro F1 on the test parts, of all models that both files have and of the networks
alone, with its two-sided exact or permutation p-value. The report's leaderboard scores are compared with each file too.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import permutation_test, spearmanr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs=2, type=Path, help="results.csv of two studies")
    files = parser.parse_args().files
    first, second = (pd.read_csv(file, index_col="row") for file in files)
    both = pd.DataFrame({"first": first["test_f1"], "second": second["test_f1"]}).dropna()
    networks = both[~both.index.str.contains("classical|gridsearch|best")]
    published = pd.DataFrame({"first": first["published_leaderboard"], "second": first["test_f1"]}).dropna()
    again = pd.DataFrame({"first": second["published_leaderboard"], "second": second["test_f1"]}).dropna()
    for name, table in (
        (f"{files[0]} and {files[1]}", both),
        ("the same, networks alone", networks),
        (f"leaderboard and {files[0]}", published),
        (f"leaderboard and {files[1]}", again),
    ):
        rho, p = correlation(table["first"].to_numpy(), table["second"].to_numpy())
        print(f"{name}: ρ = {rho:+.2f}, p = {p:.3f}, n = {len(table)}: {', '.join(table.index)}")


def correlation(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    found = permutation_test(
        (first,), lambda x: spearmanr(x, second).statistic, permutation_type="pairings", n_resamples=20_000, rng=0
    )
    return float(found.statistic), float(found.pvalue)


if __name__ == "__main__":
    main()
