"""Turns for tests that would be in each other's way, side by side or in several runs of the tests on this machine."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def slot(name: str, at_a_time: int) -> Iterator[int]:
    """Wait until fewer than ``at_a_time`` others hold a slot of that name, and hold one; it ends with the process."""
    place = Path(tempfile.gettempdir(), f"fl-app-tests-{os.getuid()}")
    place.mkdir(mode=0o700, exist_ok=True)
    while True:
        for number in range(at_a_time):
            with (place / f"{name}.{number}").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield number
                return
        time.sleep(0.2)
