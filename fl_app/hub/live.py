"""What open pages are told: each page that somebody looks at is rendered again every second, once for all who look.

Nobody looks, nothing runs. A page is sent only when it has changed.
"""

import asyncio
import hashlib
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from fl_app.system.printable import continued

LOG = logging.getLogger("fl_app.hub")
TICK = 1.0
"""Seconds between two looks at what a page shows."""
PING = 15.0
"""Seconds after which a stream without news says that it is there."""
MOST_STREAMS = 64
"""Streams at a time; a hub is for one party's people, not for a crowd."""


@dataclass
class _Watched:
    """A page that somebody looks at: its last content and the digest of it."""

    task: asyncio.Task[None]
    content: str = ""
    digest: str = ""
    readers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Live:
    """The streams of one hub.

    Parameters
    ----------
    render
        Returns what a page shows now, by its address; None once it is gone.
    """

    def __init__(self, render: Callable[[str], Awaitable[str | None]], tick: float = TICK) -> None:
        self._render, self._tick = render, tick
        self._watched: dict[str, _Watched] = {}
        self._ended = False
        self._taken = 0

    def take(self) -> bool:
        """Take one of the `MOST_STREAMS` places for a stream, which `give` gives back; False if none is left."""
        if self._taken >= MOST_STREAMS:
            return False
        self._taken += 1
        return True

    def give(self) -> None:
        """Give back a place that was taken."""
        self._taken -= 1

    async def stream(self, address: str, known: str, holds: Callable[[], bool]) -> AsyncIterator[str]:
        """Yield the events of a page: its content whenever it is another than the one with the digest ``known``.

        It ends once ``holds`` says that the session has ended.
        """
        page = self._watched.get(address)
        if page is None:
            page = self._watched[address] = _Watched(asyncio.create_task(self._watch(address)))
        page.readers += 1
        try:
            yield "retry: 2000\n\n"
            while not self._ended and holds() and not page.task.done():
                if page.digest and page.digest != known:
                    known = page.digest
                    yield f"id: {known}\ndata: {json.dumps(page.content)}\n\n"
                changed = page.changed
                try:
                    await asyncio.wait_for(changed.wait(), PING)
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            page.readers -= 1
            if not page.readers:
                page.task.cancel()
                self._watched.pop(address, None)

    def end(self) -> None:
        """End all streams: the hub goes."""
        self._ended = True
        for page in self._watched.values():
            page.changed.set()

    async def _watch(self, address: str) -> None:
        with suppress(asyncio.CancelledError):
            try:
                while not self._ended and (content := await self._render(address)) is not None:
                    page = self._watched[address]
                    if (digest := digest_of(content)) != page.digest:
                        page.content, page.digest = content, digest
                        self._ring(page)
                    await asyncio.sleep(self._tick)
            except Exception:
                LOG.error("%s failed\n%s", continued(address), continued(traceback.format_exc()))
            if address in self._watched:
                self._ring(self._watched[address])

    @staticmethod
    def _ring(page: _Watched) -> None:
        page.changed.set()
        page.changed = asyncio.Event()


def digest_of(content: str) -> str:
    """Return the digest by which a page's content is known."""
    return hashlib.sha256(content.encode()).hexdigest()[:32]
