"""When each party was last admitted and served: the modification time of a file of its name."""

import time
from collections.abc import Mapping
from pathlib import Path

from server.superlink.replay import Message, Send

_SEEN_SECONDS = 10.0
"""Shortest time between two updates of when a party was last seen: a pod at work makes several requests a second."""


class LastSeen:
    """When each party was last admitted and served: the modification time of the file of its name in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._recorded: dict[str, float] = {}

    def recording(self, name: str, send: Send) -> Send:
        """Return ``send`` such that it records a request of ``name`` that the application has accepted."""

        async def record(message: Message) -> None:
            # Only now is it known that Flower accepted the signature: anybody can show a registered pod's public key.
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._record(name)
            await send(message)

        return record

    def times(self) -> Mapping[str, float]:
        """Return name -> seconds since the epoch."""
        if not self._directory.exists():
            return {}
        return {path.name: path.stat().st_mtime for path in self._directory.iterdir()}

    def _record(self, name: str) -> None:
        now = time.monotonic()
        if now - self._recorded.get(name, -_SEEN_SECONDS) >= _SEEN_SECONDS:
            self._recorded[name] = now
            self._directory.mkdir(mode=0o700, exist_ok=True)
            (self._directory / name).touch()
