"""One function for many images, on all cores."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from typing import Any

from joblib import cpu_count
from joblib.externals.loky import ProcessPoolExecutor

from wbc.core.errors import UserError
from wbc.core.progress import Bar

BATCH = 16  # calls handed to a process at once; handing over one call costs 0.4 ms
AHEAD = 2  # batches per core that may be running or waiting to be taken


class KilledError(UserError):
    """A worker process was killed."""


def parallel_map(
    function: Callable[..., Any], arguments: Iterable[tuple], total: int, title: str, threads: bool = False
) -> Iterator[Any]:
    """`function(*args)` for each of `arguments`, in order, with a progress bar.

    At most `AHEAD * BATCH` results per core wait to be taken. joblib's own generator would compute all results however
    slowly they are taken, and fill the memory.

    Args:
        function: must pickle unless `threads`.
        arguments: one tuple per call, read only as calls are made.
        total: number of calls.
        title: of the progress bar.
        threads: use threads instead of processes, for work that waits for the disk or releases the interpreter lock.

    Raises:
        KilledError: a worker process was killed.
    """
    with Bar(title, total) as bar:
        for result in (_on_threads if threads else _on_processes)(function, arguments, total):
            bar.update()
            yield result


def _on_threads(function: Callable[..., Any], arguments: Iterable[tuple], total: int) -> Iterator[Any]:
    cores = cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        yield from _in_order(partial(pool.submit, _batch, function), arguments, total, cores)


def _on_processes(function: Callable[..., Any], arguments: Iterable[tuple], total: int) -> Iterator[Any]:
    cores = cpu_count()
    if cores == 1:
        yield from (function(*args) for args in arguments)
        return
    with ProcessPoolExecutor(cores, initializer=_one_opencv_thread) as pool:
        try:
            yield from _in_order(partial(pool.submit, _batch, function), arguments, total, cores)
        except BrokenProcessPool:
            raise KilledError("a worker process was killed, perhaps because memory ran out") from None


def _one_opencv_thread() -> None:
    """Every core has a process already."""
    import cv2

    cv2.setNumThreads(1)


def _batch(function: Callable[..., Any], batch: list[tuple]) -> list[Any]:
    return [function(*args) for args in batch]


def _in_order(submit: Callable[..., Any], arguments: Iterable[tuple], total: int, cores: int) -> Iterator[Any]:
    """The results of `submit(batch)`, a future of `_batch`, for all `arguments`."""
    arguments, waiting = iter(arguments), deque()
    size = max(1, min(BATCH, total // (2 * AHEAD * cores)))  # a few slow calls shall use all cores too
    try:
        for batch in iter(lambda: list(islice(arguments, size)), []):
            if len(waiting) == AHEAD * cores:
                yield from waiting.popleft().result()
            waiting.append(submit(batch))
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:  # after an error the rest is not needed
            future.cancel()
