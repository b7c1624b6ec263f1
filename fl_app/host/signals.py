"""SIGINT and SIGTERM as an exception, so that one ``try`` cleans up however a process is asked to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in the block at the first SIGINT or SIGTERM; ignore further ones until it is left.

    A second Ctrl-C would otherwise break off the cleaning up that the first one has begun, and leave processes behind.
    Outside the main thread, where Python allows no signal handlers, the block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        # A Python function, not SIG_IGN: child processes would inherit SIG_IGN and could no longer be terminated.
        for number in previous:
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in previous:
            signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Run the block until it ends or SIGINT or SIGTERM arrives, in which case it is left without an exception."""
    with suppress(KeyboardInterrupt), interruptible():
        yield
