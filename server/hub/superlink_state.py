"""What a SuperLink says of itself, read from its socket by whoever operates it."""

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from server.superlink.status import SOCKET, short_path

_WAIT_SECONDS = 2.0
_MOST_BYTES = 16 << 20
_FRESH_SECONDS = 0.5
"""Several pages that are looked at share one document; so long it is as good as new."""


class SuperLinkState:
    """The document of the SuperLink whose directory is ``directory``.

    It is asked for when a page is rendered, and never otherwise.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / SOCKET
        self._lock = Lock()
        self._read_at = -_FRESH_SECONDS
        self._document: dict[str, Any] | None = None

    def read(self) -> dict[str, Any] | None:
        """Return the document; None if no SuperLink answers."""
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_SECONDS:
                self._document = _asked(self._path)
                self._read_at = time.monotonic()
            return self._document


def _asked(path: Path) -> dict[str, Any] | None:
    received = bytearray()
    deadline = time.monotonic() + _WAIT_SECONDS
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_WAIT_SECONDS)
        with short_path(path) as short:
            connection.connect(short)
        while (part := connection.recv(1 << 16)) and len(received) <= _MOST_BYTES:
            received += part
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
        document = json.loads(received)
        return document if isinstance(document, dict) else None
    return None
