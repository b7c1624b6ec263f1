"""Files that several processes may read and write at once."""

import errno
import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def has_no_space(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, is that of a full disk or a used up quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def absolute(path: str | Path, base: Path) -> Path:
    """Return ``path`` as seen from the directory ``base``: absolute, ``~`` expanded, links left alone."""
    return Path(os.path.abspath(base / os.path.expanduser(path)))


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never a part of either."""
    with replacing(path, mode) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of ``path`` at the end, unless an exception is raised.

    It has a name and may be written to by that, too.
    """
    target = path.resolve()
    with _new_beside(target) as file:
        try:
            yield file
            _write_through(file, mode)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
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
    with _new_beside(path) as file:
        file.write(content)
        _write_through(file, mode)
        return Path(file.name)


@contextmanager
def _new_beside(path: Path) -> Iterator[BinaryIO]:
    # mkstemp opens with O_EXCL and mode 0600, so a secret is never readable by others, not even for a moment.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    with open(name, "wb") as file:  # by its name, which the file then knows
        yield file


def _write_through(file: BinaryIO, mode: int) -> None:
    file.flush()
    os.fchmod(file.fileno(), mode)
    os.fsync(file.fileno())
