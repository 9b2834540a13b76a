"""Results in order, and never many more than were asked for."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from joblib import cpu_count

from wbc import parallel


def noted(folder: Path, number: int) -> int:
    """`number`, and a file in `folder` that says this call was made."""
    (folder / str(number)).touch()
    return number


@pytest.mark.parametrize("threads", [True, False])
def test_results_are_made_only_so_far_ahead_of_what_is_taken(tmp_path, threads):
    ahead = parallel.AHEAD * cpu_count()
    many = 10 * ahead
    results = iter(parallel.parallel_map(noted, ((tmp_path, i) for i in range(many)), many, "test", threads))
    for taken in (1, 2, 3 * ahead):
        while next(results) < taken - 1:
            pass
        made = -1
        while made < (made := len(list(tmp_path.iterdir()))):  # until no more are made
            time.sleep(0.3)
        assert taken <= made <= taken + ahead
    assert list(results) == list(range(taken, many))


FAILING = """
from operator import truediv

from wbc.parallel import parallel_map

try:
    for result in parallel_map(truediv, ((1, i - 3) for i in range(500)), 500, "test", threads={threads}):
        print(round(1 / result))
except ZeroDivisionError:
    print("as it should")
"""


@pytest.mark.parametrize("threads", [True, False])
def test_an_error_comes_at_its_place_without_a_word_of_what_else_was_under_way(threads):
    done = subprocess.run([sys.executable, "-c", FAILING.format(threads=threads)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("-3\n-2\n-1\nas it should\n", "")
