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

from wbc.compute import AVX2, THREADS
from wbc.core.errors import UserError
from wbc.progress import Bar

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

BATCH = 16  # calls at most that are handed out together, as that alone takes 0.4 ms here and milliseconds on a cluster
AHEAD = 2  # batches of a core that are under way or done before their results are taken
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
    """`function(*args)` for all of `arguments`, in their order, with `Bar`.

    At most `AHEAD * BATCH` results per core wait to be taken; joblib's own generator makes all of them, however slowly
    they are taken, and a host of many cores with a slow disk then holds gigabytes.

    Args:
        function: what to do; where it runs in processes, it and `arguments` must pickle.
        arguments: of each call, read no farther than the calls are made.
        total: how many there are.
        title: of the bar.
        threads: whether threads of this process serve, as for what waits for disks or releases the interpreter.
        backend: `loky`, for this machine, or `dask`, for `cluster`, where paths mean what they mean here.

    Raises:
        ClusterError: see `cluster`.
        KilledError: a process was killed; on a cluster, with each of four workers that tried.
    """
    run = _on_cluster if backend == "dask" else _on_threads if threads else _on_processes
    with Bar(title, total) as bar:
        for result in run(function, arguments, total):
            bar.update()
            yield result


def _on_threads(function: Callable[..., Any], arguments: Iterable[tuple], total: int) -> Iterator[Any]:
    cores = cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        yield from _in_order(partial(pool.submit, _several, function), arguments, total, cores)


def _on_processes(function: Callable[..., Any], arguments: Iterable[tuple], total: int) -> Iterator[Any]:
    cores = cpu_count()
    if cores == 1:
        yield from (function(*args) for args in arguments)
        return
    with ProcessPoolExecutor(cores, initializer=_alone) as pool:
        try:
            yield from _in_order(partial(pool.submit, _several, function), arguments, total, cores)
        except BrokenProcessPool:
            raise KilledError(KILLED) from None


def _alone() -> None:
    """OpenCV takes one thread, as every core has a process already."""
    import cv2

    cv2.setNumThreads(1)


def _on_cluster(function: Callable[..., Any], arguments: Iterable[tuple], total: int) -> Iterator[Any]:
    with cluster() as client:
        from distributed import KilledWorker

        submit = partial(client.submit, _several_in, os.getcwd(), function, pure=False)
        try:
            yield from _in_order(submit, arguments, total, sum(client.nthreads().values()))
        except KilledWorker:
            raise KilledError(KILLED) from None
        except CancelledError:
            raise ClusterError(f"{ON_DASK}: the scheduler is gone") from None


def _several(function: Callable[..., Any], batch: list[tuple]) -> tuple[list[Any], UserError | None]:
    """The results of some calls, and what ended them early; raised, it would be in a cluster's log too."""
    results = []
    try:
        for args in batch:
            results.append(function(*args))
    except UserError as error:
        return results, error
    return results, None


def _several_in(folder: str, function: Callable[..., Any], batch: list[tuple]) -> tuple[list[Any], UserError | None]:
    os.chdir(folder)  # a worker may serve several
    return _several(function, batch)


def _in_order(submit: Callable[..., Any], arguments: Iterable[tuple], total: int, cores: int) -> Iterator[Any]:
    """The results of `submit(batch)`, a future of what `_several` returns, for all `arguments` in batches."""
    arguments, waiting = iter(arguments), deque()
    size = max(1, min(BATCH, total // (2 * AHEAD * cores)))  # few and slow calls are for all cores as well
    try:
        for batch in iter(lambda: list(islice(arguments, size)), []):
            if len(waiting) == AHEAD * cores:
                yield from _taken(waiting)
            waiting.append(submit(batch))
        while waiting:
            yield from _taken(waiting)
    finally:  # after an error the rest is not wanted
        for future in waiting:
            future.cancel()


def _taken(waiting: deque) -> Iterator[Any]:
    results, error = waiting.popleft().result()
    yield from results
    if error:
        raise error


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
            import cv2

            cv2.setNumThreads(1)

    return AsHere()
