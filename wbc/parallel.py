"""One function for many images, on all cores."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from joblib import cpu_count
from joblib.externals.loky import ProcessPoolExecutor
from tqdm import tqdm

AHEAD = 16  # calls of a core that are under way or done before their results are taken


def parallel_map(
    function: Callable[..., Any], arguments: Iterable[tuple], total: int, title: str, threads: bool = False
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
    """
    return tqdm(_results(function, arguments, threads), title, total, disable=None)


def _results(function: Callable[..., Any], arguments: Iterable[tuple], threads: bool) -> Iterator[Any]:
    cores = cpu_count()
    if cores == 1:
        yield from (function(*args) for args in arguments)
        return
    waiting = deque()
    with ThreadPoolExecutor(cores) if threads else ProcessPoolExecutor(cores) as pool:
        try:
            for args in arguments:
                if len(waiting) == AHEAD * cores:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, *args))
            while waiting:
                yield waiting.popleft().result()
        finally:  # after an error the rest is not wanted
            for future in waiting:
                future.cancel()
