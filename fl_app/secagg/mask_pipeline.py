"""Masks read ahead: one thread runs the cipher, another adds up what it has written.

The cipher's calls are long and release Python's lock, so the two hardly ever wait for each other. Splitting the vector
among equal threads instead gains nothing, as measured: their many short calls contend for the lock.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

from fl_app.secagg.field import Field, Words
from fl_app.secagg.keystream import BLOCK, MaskStream, word_buffer

_SPAN = 4
"""Blocks of a span: 1 MB of words, so that sums, scratch and one mask stay in a processor's own cache."""
_LONG = 4 * _SPAN * BLOCK
"""Elements from which on a vector is handled several blocks at a time."""
_BUFFERS = 4
"""Spans by which the cipher may be ahead."""
_LEAST = 32 * _SPAN * BLOCK
"""Elements, of all masks of a long vector together, below which a thread costs more than it brings."""
_PATIENCE = 600.0
"""Seconds that one thread waits for the other: an error then, not a hang."""

Span = tuple[int, slice]
"""The number of a span's first block, and where in the vector it lies."""


def span_of(length: int) -> int:
    """Return how many blocks of a vector of ``length`` elements are handled by one call.

    A single one where the vector is short: touching fresh memory for more would cost most of the time.
    """
    return _SPAN if length >= _LONG else 1


def spans(length: int) -> list[Span]:
    """Return the spans of a vector of ``length`` elements, in order."""
    each = span_of(length) * BLOCK
    return [(at // BLOCK, slice(at, min(at + each, length))) for at in range(0, length, each)]


@contextmanager
def read_ahead(streams: Sequence[MaskStream], field: Field, length: int) -> Iterator[Iterator[Words]]:
    """Give an iterator over mask elements: of every stream for a vector's first span, then for the second, and so on.

    Use each array before asking for the next, which may lie in the same memory. The thread ends with the context.

    Parameters
    ----------
    streams : sequence of MaskStream
        The masks.
    field : Field
        Their field.
    length : int
        Elements of the vector.
    """
    span = span_of(length)
    if span == 1 or len(streams) * length < _LEAST or processors() == 1:
        yield read_in_turn(streams, word_buffer(field, span), length)
        return
    free, written = SimpleQueue[Words | None](), SimpleQueue[Words | Exception]()
    for _ in range(_BUFFERS):
        free.put(word_buffer(field, span))

    def write() -> None:
        try:
            for block, at in spans(length):
                for stream in streams:
                    into = free.get(timeout=_PATIENCE)
                    if into is None:
                        return
                    stream.write_words(block, into, at.stop - at.start)
                    written.put(into)
        except Exception as error:  # raised where the words are waited for
            written.put(error)

    def elements_in_order() -> Iterator[Words]:
        out = word_buffer(field, span)
        for block, at in spans(length):
            for stream in streams:
                into = written.get(timeout=_PATIENCE)
                if isinstance(into, Exception):
                    raise into
                elements = stream.to_elements(block, into[: at.stop - at.start], out)
                free.put(into)
                yield elements

    thread = Thread(target=write, name="masks")
    thread.start()
    try:
        yield elements_in_order()
    finally:
        free.put(None)  # the thread may be waiting for memory that nobody will give back any more
        thread.join(_PATIENCE)


def read_in_turn(streams: Sequence[MaskStream], into: Words, length: int) -> Iterator[Words]:
    """Yield the same, on one thread and in one `word_buffer`."""
    for block, at in spans(length):
        for stream in streams:
            yield stream.read(block, into, at.stop - at.start)


_LEAST_BLOCKS = 8
"""Blocks below which another thread costs more than it brings."""
_MOST_THREADS = 8
"""Threads beyond which memory is the limit, not the processor."""


def over_blocks(blocks: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, end)`` for ranges that make up 0 to ``blocks``, on as many threads as pay.

    Returns when all have ended; raises the error of one that failed.
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
