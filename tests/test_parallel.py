"""Results in order, and never many more than were asked for; on a cluster the same ones."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster
from joblib import cpu_count
from threadpoolctl import threadpool_info

from stages import say
from study import write_settings
from wbc.classical.models import beside_each_other
from wbc.core import parallel
from wbc.core.parallel import ClusterError, KilledError, parallel_map
from wbc.core.progress import Bar
from wbc.dataset.images import ImageError


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a cluster whose two workers were started in another folder, and which gives none of them a second task."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    try:
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        ):
            os.chdir(here)
            yield cluster.scheduler_address
    finally:
        os.chdir(here)


@pytest.fixture
def workers(address, monkeypatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)


def noted(folder: Path, number: int) -> int:
    """`number`, and a file in `folder` that says this call was made."""
    (folder / str(number)).touch()
    return number


@pytest.mark.parametrize("where", ["threads", "processes", "dask"])
def test_results_are_made_only_so_far_ahead_of_what_is_taken(tmp_path, where, workers):
    ahead = parallel.AHEAD * parallel.BATCH * (2 if where == "dask" else cpu_count())
    many = 10 * ahead
    arguments = ((tmp_path, i) for i in range(many))
    backend = "dask" if where == "dask" else "loky"
    results = iter(parallel_map(noted, arguments, many, "test", where == "threads", backend))
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
def test_an_error_comes_at_its_place_without_a_word_of_what_else_was_under_way(threads):
    done = subprocess.run([sys.executable, "-c", FAILING.format(threads=threads)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n1\n2\nas it should\n", "")


def read_to(number: int) -> int:
    if number == 3:
        raise ImageError("3.png: changed")
    return number


def killed_at(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_an_unreadable_image_and_a_killed_process_end_in_one_line_wherever_they_are(backend, workers):
    results = iter(parallel_map(read_to, ((i,) for i in range(500)), 500, "test", backend=backend))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ImageError, match=r"^3\.png: changed$"):
        next(results)
    with pytest.raises(KilledError, match=r"^a process that worked on images was killed"):
        list(parallel_map(killed_at, ((i,) for i in range(500)), 500, "test", backend=backend))


def surroundings(_) -> tuple[str, str, set[int]]:
    return os.getcwd(), os.environ["OMP_NUM_THREADS"], {pool["num_threads"] for pool in threadpool_info()}


def test_workers_compute_in_this_folder_with_one_thread_each(tmp_path, monkeypatch, workers):
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        for found in parallel_map(surroundings, ((i,) for i in range(200)), 200, "test", backend="dask"):
            assert found == (str(folder), "1", {1})


def test_the_stages_write_the_same_bytes_on_a_cluster(archives, tmp_path, monkeypatch, params, workers):
    from stages import features, ingest, segment  # which pins threads: not for workers to import with this module

    raw, written = archives("folder"), {}
    params["data"] |= {"source": "folder", "path": "raw"}
    for backend in ("loky", "dask"):
        params["compute"]["joblib_backend"] = backend
        study = tmp_path / backend
        study.mkdir()
        (study / "raw").symlink_to(raw)
        (study / "raw/train/LY/broken.png").write_bytes(b"")
        monkeypatch.chdir(study)
        write_settings(params, "ingest", "segment", "features", "machine")
        for stage in (ingest, segment, features):
            stage.main("study")
        written[backend] = {path: path.read_bytes() for path in Path("data").rglob("*.*")}
    assert len(written["loky"]) >= 15
    assert written["loky"] == written["dask"]


def test_a_cluster_that_cannot_be_used_is_said_in_a_line(monkeypatch, workers):
    def refused(why):
        with pytest.raises(ClusterError, match=rf"^compute\.joblib_backend = 'dask': {why}"):
            next(iter(parallel_map(abs, [(-1,)], 1, "test", backend="dask")))

    with monkeypatch.context() as changed:
        changed.setattr(os, "getcwd", lambda: "/not/there")
        refused("worker tcp://.+ has no folder /not/there; it must see the same files")
    with monkeypatch.context() as changed:
        changed.setenv("NPY_ENABLE_CPU_FEATURES", "others")
        refused("worker tcp://.+ was started without NPY_ENABLE_CPU_FEATURES=others, so that last bits may differ")
    with LocalCluster(n_workers=0, dashboard_address=":0") as empty, monkeypatch.context() as changed:
        changed.setenv("DASK_SCHEDULER_ADDRESS", empty.scheduler_address)
        changed.setattr(parallel, "SECONDS", 0.5)
        refused(f"no worker at '{empty.scheduler_address}' after 0.5 s")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "nonsense")
    refused("no scheduler at 'nonsense'")


# --- what is told meanwhile


@pytest.mark.parametrize("work", ["images", "fits"])
def test_without_a_terminal_a_line_comes_now_and_then(monkeypatch, capsys, work):
    """However long one step takes. What is over before says nothing."""
    monkeypatch.setattr("wbc.core.progress.EVERY", 0.2)
    monkeypatch.setattr("wbc.core.parallel.Bar", partial(Bar, disable=False))  # the tests' environment turns it off
    for seconds in (0, 0.5):
        if work == "images":
            assert list(parallel_map(time.sleep, [(seconds,)], 1, "cells", threads=True)) == [None]
        else:
            with beside_each_other("loky"):
                time.sleep(seconds)
        lines = capsys.readouterr().out.splitlines()
        assert bool(lines) == (seconds > 0)
    told = {"images": r"cells: 0 of 1, \? left, 00:00 so far", "fits": r"fits: 00:00 so far"}
    assert all(re.fullmatch(told[work], line) for line in lines)


def test_lines_are_no_wider_than_a_page_and_numbers_no_longer_than_they_tell(capsys):
    say("best-0", {"mean": 0.123456789012345, "which": "defocus", **{f"test_score_{i}": 1 / 3 for i in range(12)}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("best-0: mean 0.123, which defocus, test_score_0 0.333")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 120
