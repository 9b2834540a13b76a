"""Results come in order, and never many more are computed than were taken."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from joblib import cpu_count

from wbc.classical.models import single_threaded_fits
from wbc.core import parallel
from wbc.core.parallel import KilledError, parallel_map
from wbc.core.progress import Bar


def noted(folder: Path, number: int) -> int:
    """`number`, and a file in `folder` that says this call was made."""
    (folder / str(number)).touch()
    return number


@pytest.mark.parametrize("threads", [True, False])
def test_results_are_made_only_so_far_ahead_of_what_is_taken(tmp_path, threads):
    ahead = parallel.AHEAD * parallel.BATCH * cpu_count()
    many = 10 * ahead
    results = iter(parallel_map(noted, ((tmp_path, i) for i in range(many)), many, "test", threads))
    for taken in (1, 2, 3 * ahead):
        while next(results) < taken - 1:
            pass
        made = -1
        while made < (made := len(list(tmp_path.iterdir()))):  # until no more are made
            time.sleep(0.3)
        assert taken <= made < taken + ahead + parallel.BATCH
    assert list(results) == list(range(taken, many))


FAILING = """
from wbc.core.errors import UserError
from wbc.core.parallel import parallel_map

def read(number):
    if number == 3:
        raise UserError("as it should")
    return number

try:
    for result in parallel_map(read, ((i,) for i in range(500)), 500, "test", threads={threads}):
        print(result)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("threads", [True, False])
def test_an_error_ends_the_calls_without_a_word_of_what_else_was_under_way(threads):
    done = subprocess.run([sys.executable, "-c", FAILING.format(threads=threads)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("as it should\n", "")


def killed_at(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_process_is_said_in_a_line(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    with pytest.raises(KilledError, match=r"^a worker process was killed, perhaps because memory ran out$"):
        list(parallel_map(killed_at, ((i,) for i in range(500)), 500, "test"))


@pytest.mark.parametrize("work", ["images", "fits"])
def test_without_a_terminal_a_line_comes_now_and_then(monkeypatch, capsys, work):
    """However long one step takes. What is over before says nothing."""
    monkeypatch.setattr("wbc.core.progress.EVERY", 0.2)
    monkeypatch.setattr("wbc.core.parallel.Bar", partial(Bar, disable=False))  # the tests' environment turns it off
    for seconds in (0, 0.5):
        if work == "images":
            assert list(parallel_map(time.sleep, [(seconds,)], 1, "cells", threads=True)) == [None]
        else:
            with single_threaded_fits():
                time.sleep(seconds)
        lines = capsys.readouterr().out.splitlines()
        assert bool(lines) == (seconds > 0)
    told = {"images": r"cells: 0 of 1, \? left, 00:00 so far", "fits": r"fits: 00:00 so far"}
    assert all(re.fullmatch(told[work], line) for line in lines)
