"""A vector's blocks shared out among threads: the cipher and numpy let go of the interpreter's lock while they work."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_MOST = 8
"""Threads beyond which memory, not the processor, is what is waited for."""


def over_blocks(blocks: int, work: Callable[[int, int], None], least: int) -> None:
    """Call ``work(first, end)`` for ranges that make up 0 to ``blocks``, on as many threads as are of use.

    ``least`` is how many blocks a thread must have to bring more than its start costs, some 0.1 ms. Returns when all
    have ended; an error in one of them is raised then.
    """
    threads = max(1, min(blocks // least, processors(), _MOST))
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
