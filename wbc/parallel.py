"""One function for many images, on all cores of this machine or on a Dask cluster."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from joblib import cpu_count
from joblib.externals.loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from wbc.compute import AVX2, THREADS
from wbc.errors import UserError

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

AHEAD = 16  # calls of a core that are under way or done before their results are taken
BATCH = 32  # calls of a task on a cluster, which takes milliseconds to hand one out; each thread has two tasks
SECONDS = 30  # that a cluster's first worker may take to come
ON_DASK = "compute.joblib_backend = 'dask'"
KILLED = "a process that worked on images was killed, as when memory runs out"


class ClusterError(UserError):
    """The Dask cluster cannot be used; the message is one line saying why."""


class KilledError(UserError):
    """One of the processes ended before its work did."""


def parallel_map(
    function: Callable[..., Any],
    arguments: Iterable[tuple],
    total: int,
    title: str,
    threads: bool = False,
    backend: str = "loky",
) -> Iterator[Any]:
    """`function(*args)` for all of `arguments`, in their order, with a progress bar.

    At most `AHEAD` results per core wait to be taken; joblib's own generator makes all of them, however slowly they
    are taken, and a host of many cores with a slow disk then holds gigabytes.

    Args:
        function: what to do; where it runs in processes, it and `arguments` must pickle.
        arguments: of each call, read no farther than the calls are made.
        total: how many there are.
        title: of the progress bar.
        threads: whether threads of this process serve, as for what waits for disks or releases the interpreter.
        backend: `loky`, for this machine, or `dask`, for `cluster`, where paths mean what they mean here.

    Raises:
        ClusterError: see `cluster`.
        KilledError: a process was killed; on a cluster, with each of four workers that tried.
    """
    results = _on_cluster(function, arguments) if backend == "dask" else _here(function, arguments, threads)
    return tqdm(results, title, total, disable=None)


def _here(function: Callable[..., Any], arguments: Iterable[tuple], threads: bool) -> Iterator[Any]:
    cores = cpu_count()
    if cores == 1:
        yield from (function(*args) for args in arguments)
        return
    with ThreadPoolExecutor(cores) if threads else ProcessPoolExecutor(cores) as pool:
        try:
            yield from _in_order(partial(pool.submit, function), arguments, AHEAD * cores)
        except BrokenProcessPool:
            raise KilledError(KILLED) from None


def _on_cluster(function: Callable[..., Any], arguments: Iterable[tuple]) -> Iterator[Any]:
    with cluster() as client:
        from distributed import KilledWorker

        arguments = iter(arguments)
        batches = ((batch,) for batch in iter(lambda: list(islice(arguments, BATCH)), []))
        submit = partial(client.submit, _several, os.getcwd(), function, pure=False)
        most = 2 * sum(client.nthreads().values())
        try:
            for results, error in _in_order(submit, batches, most):
                yield from results
                if error:
                    raise error
        except KilledWorker:
            raise KilledError(KILLED) from None
        except CancelledError:
            raise ClusterError(f"{ON_DASK}: the scheduler is gone") from None


def _several(folder: str, function: Callable[..., Any], batch: list[tuple]) -> tuple[list[Any], UserError | None]:
    """The results of some calls in a folder, and what ended them early; raised, it would be in the worker's log too."""
    os.chdir(folder)  # a worker may serve several
    results = []
    try:
        for args in batch:
            results.append(function(*args))
    except UserError as error:
        return results, error
    return results, None


def _in_order(submit: Callable[..., Any], arguments: Iterable[tuple], most: int) -> Iterator[Any]:
    """The results of the futures that `submit(*args)` returns, of which at most so many wait to be taken."""
    waiting = deque()
    try:
        for args in arguments:
            if len(waiting) == most:
                yield waiting.popleft().result()
            waiting.append(submit(*args))
        while waiting:
            yield waiting.popleft().result()
    finally:  # after an error the rest is not wanted
        for future in waiting:
            future.cancel()


@contextmanager
def cluster() -> Iterator["Client"]:
    """A Dask cluster whose workers compute as this process does, with one thread each.

    It is the one whose scheduler's address is in the environment variable DASK_SCHEDULER_ADDRESS, or else a new one of
    this machine's cores.

    Raises:
        ClusterError: Dask is not installed, its scheduler does not answer, it has no worker, or one of them does not
            see this folder or would compute with other vector instructions.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(f"{ON_DASK}: run: pip install 'dask[distributed]'") from None
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    try:
        client = Client(address) if address else Client(threads_per_worker=1, dashboard_address=":0")
    except (OSError, ValueError) as error:
        raise ClusterError(f"{ON_DASK}: no scheduler at {address!r} ({error})") from None
    with client:
        plugin = _as_here()
        try:
            client.wait_for_workers(1, SECONDS)
            client.register_plugin(plugin)
        except TimeoutError:
            raise ClusterError(f"{ON_DASK}: no worker at {address!r} after {SECONDS} s") from None
        except RuntimeError as error:
            raise ClusterError(f"{ON_DASK}: {error}") from None
        try:
            yield client
        finally:
            client.unregister_worker_plugin(plugin.name)


def _as_here() -> "WorkerPlugin":
    """What makes every worker like this process, also one that comes later.

    The class is sent whole, since a worker may have been started in a folder from where it finds no `wbc`.
    """
    from distributed import WorkerPlugin

    folder, wanted = os.getcwd(), {name: os.environ[name] for name in AVX2 if name in os.environ}
    home, threads = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), dict.fromkeys(THREADS, "1")

    class AsHere(WorkerPlugin):
        name = "wbc"

        def setup(self, worker) -> None:
            if not os.path.isdir(folder):
                raise RuntimeError(f"worker {worker.address} has no folder {folder}; it must see the same files")
            for name, value in wanted.items():  # NumPy has read them before this runs
                if os.environ.get(name) != value:
                    raise RuntimeError(
                        f"worker {worker.address} was started without {name}={value}, so that last bits may differ; "
                        "start it in the repository, with the option: --preload-nanny stages"
                    )
            os.environ.update(threads)  # for libraries that are not loaded yet
            threadpool_limits(1)
            if home not in sys.path:
                sys.path.insert(0, home)

    return AsHere()
