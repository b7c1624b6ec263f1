"""Masks read ahead: one thread runs the cipher, another adds up what it has written.

The cipher's calls are long and leave Python's lock alone, so the two hardly ever wait for each other. Sharing out the
vector among equal threads instead was measured to gain nothing: their many short calls contend for the lock.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

from fl_app.secagg.field import Field, Words
from fl_app.secagg.keystream import BLOCK, MaskStream, room

_SPAN = 4
_LONG = 4 * _SPAN * BLOCK
"""Elements from which on a vector is handled several blocks at a time."""
_ROOMS = 4
"""Spans by which the cipher may be ahead."""
_LEAST = 32 * _SPAN * BLOCK
"""Elements, of all masks of a long vector together, below which a thread costs more than it brings."""
_PATIENCE = 600.0

Span = tuple[int, slice]
"""The number of a span's first block, and where in the vector it lies."""


def span_of(length: int) -> int:
    """Return how many blocks of a vector of ``length`` elements are handled by one call.

    One of a short vector, which would otherwise wait longer for memory than for anything else.
    """
    return _SPAN if length >= _LONG else 1


def spans(length: int) -> list[Span]:
    """Return the spans of a vector of ``length`` elements, in order."""
    each = span_of(length) * BLOCK
    return [(at // BLOCK, slice(at, min(at + each, length))) for at in range(0, length, each)]


@contextmanager
def reading(streams: Sequence[MaskStream], field: Field, length: int) -> Iterator[Iterator[Words]]:
    """Give the elements of every stream for the first span of a vector of ``length``, then for the second, and so on.

    Each is to be used before the next is asked for: it lies in the same place. The thread ends with the context.
    """
    span = span_of(length)
    if span == 1 or len(streams) * length < _LEAST or processors() == 1:
        yield in_turn(streams, room(field, span), length)
        return
    free, written = SimpleQueue[Words | None](), SimpleQueue[Words | Exception]()
    for _ in range(_ROOMS):
        free.put(room(field, span))

    def write() -> None:
        try:
            for block, at in spans(length):
                for stream in streams:
                    into = free.get(timeout=_PATIENCE)
                    if into is None:
                        return
                    stream.write(block, into, at.stop - at.start)
                    written.put(into)
        except Exception as error:  # raised where the words are waited for
            written.put(error)

    def words() -> Iterator[Words]:
        out = room(field, span)
        for block, at in spans(length):
            for stream in streams:
                into = written.get(timeout=_PATIENCE)
                if isinstance(into, Exception):
                    raise into
                elements = stream.cut(block, into[: at.stop - at.start], out)
                free.put(into)
                yield elements

    thread = Thread(target=write, name="masks")
    thread.start()
    try:
        yield words()
    finally:
        free.put(None)
        thread.join(_PATIENCE)


def in_turn(streams: Sequence[MaskStream], into: Words, length: int) -> Iterator[Words]:
    """Yield the same, on one thread and in one `room`."""
    for block, at in spans(length):
        for stream in streams:
            yield stream.read(block, into, at.stop - at.start)


_LEAST_BLOCKS = 8
"""Blocks below which a thread more costs more than it brings."""
_MOST_THREADS = 8
"""Threads beyond which memory, not the processor, is what is waited for."""


def over_blocks(blocks: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, end)`` for ranges that make up 0 to ``blocks``, on as many threads as are of use.

    Returns when all have ended; an error in one of them is raised then.
    """
    threads = max(1, min(blocks // _LEAST_BLOCKS, processors(), _MOST_THREADS))
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
