"""A vector's blocks shared out among threads, for work that lets go of the interpreter's lock for long: digests.

Masks are not shared out like this: their many calls of some 5 microseconds, about what it takes to hand the lock over,
contend for it. See `fl_app.secagg.ahead` instead.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_LEAST = 8
"""Blocks below which a thread more costs more than it brings."""
_MOST = 8
"""Threads beyond which memory, not the processor, is what is waited for."""


def over_blocks(blocks: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, end)`` for ranges that make up 0 to ``blocks``, on as many threads as are of use.

    Returns when all have ended; an error in one of them is raised then.
    """
    threads = max(1, min(blocks // _LEAST, processors(), _MOST))
    if threads == 1:
        work(0, blocks)
        return
    ends = [blocks * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, first, end) for first, end in itertools.pairwise(ends)]:
            done.result()


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
