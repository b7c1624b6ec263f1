"""What a SuperLink tells its operator's hub of itself: one JSON document a connection, over a Unix socket.

The socket ``status.sock`` lies in the operator's directory and is closed to all but its owner. There is no request:
whoever connects gets the document and is gone. Nothing is computed while nobody connects, and a reader that does not
read is dropped after `DEADLINE` seconds.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

SOCKET = "status.sock"
DEADLINE = 5.0
"""Seconds within which a reader has the document."""
MOST_READERS = 4
"""Readers at a time; the hub is one, and another is closed at once."""
_LONGEST = 100
"""The longest path, in bytes, that a Unix socket can have everywhere."""

log = logging.getLogger("flwr")


@asynccontextmanager
async def serving_status(path: Path, snapshot: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """Answer connections to the socket at ``path`` with what ``snapshot`` returns, while the block runs."""
    try:
        listener = _listening(path)
    except OSError as error:
        log.warning("the hub will not see the state of this SuperLink: %s: %s", path, error.strerror or error)
        yield
        return
    made = path.stat().st_ino
    readers = 0

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal readers
        readers += 1
        try:
            if readers <= MOST_READERS:
                async with asyncio.timeout(DEADLINE):
                    writer.write(json.dumps(await snapshot()).encode())
                    writer.close()  # once all of it is sent
                    await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        except Exception:
            log.exception("the state of this SuperLink could not be told to the hub")
        finally:
            readers -= 1
            writer.transport.abort()

    server = await asyncio.start_unix_server(answer, sock=listener)
    try:
        yield
    finally:
        server.close()
        with suppress(OSError):
            if path.stat().st_ino == made:
                path.unlink()


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)  # of a process that was killed: whoever serves has made sure to be the only one
        with suppress(OSError):
            os.fchmod(listener.fileno(), 0o600)  # on Linux the file is made with the mode of the socket
        with short_path(path) as short:
            listener.bind(short)
        path.chmod(0o600)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a path to a Unix socket that is short enough for the system, by its directory's descriptor where needed."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
