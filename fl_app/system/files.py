"""Files that several processes may read and write at once."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def absolute(path: str | Path, base: Path) -> Path:
    """Return ``path`` as seen from the directory ``base``: absolute, ``~`` expanded, links left alone."""
    return Path(os.path.abspath(base / os.path.expanduser(path)))


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never a part of either."""
    target = path.resolve()
    written = _write_beside(target, content, mode)
    try:
        written.replace(target)
    except OSError:
        written.unlink()
        raise


def create_file(path: Path, content: bytes, mode: int) -> None:
    """Write ``content`` to a file that must not exist yet, whole or not at all.

    Raises
    ------
    FileExistsError
        If ``path`` exists. Of several processes that try at once exactly one succeeds.
    """
    written = _write_beside(path, content, mode)
    try:
        os.link(written, path)
    finally:
        written.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` exclusively; another process that asks for it waits. A dead process holds none."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` exclusively; a dead process holds none.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    """Write a new file with a name of its own next to ``path``, on the disk before this returns."""
    # mkstemp opens with O_EXCL and mode 0600, so a secret is never readable by others, not even for a moment.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return Path(name)
