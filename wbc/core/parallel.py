"""One function for many images, on all cores."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

import cv2
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
    cores, arguments, waiting = cpu_count(), iter(arguments), deque()
    if threads or cores == 1:
        pool = ThreadPoolExecutor(cores)
    else:
        pool = ProcessPoolExecutor(cores, initializer=cv2.setNumThreads, initargs=(1,))  # one process per core
    size = max(1, min(BATCH, total // (2 * AHEAD * cores)))  # a few slow calls shall use all cores too
    with Bar(title, total) as bar, pool:
        try:
            while True:
                batch = list(islice(arguments, size))
                if batch:
                    waiting.append(pool.submit(_batch, function, batch))
                if not waiting:
                    return
                if not batch or len(waiting) == AHEAD * cores:
                    for result in waiting.popleft().result():
                        bar.update()
                        yield result
        except BrokenProcessPool:
            raise KilledError("a worker process was killed, perhaps because memory ran out") from None
        finally:
            for future in waiting:  # after an error the rest is not needed
                future.cancel()


def _batch(function: Callable[..., Any], batch: list[tuple]) -> list[Any]:
    return [function(*args) for args in batch]
