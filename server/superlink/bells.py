"""Requests that are held until there is something for them: no thread, no connection to a database, no looking again.

Whoever has a request held listens for a *bell*, named by what may come (the messages for a node, the replies for a
run). Whoever brings something rings it. A bell that is rung while its listener examines what is there is heard when it
has done so, so that nothing is missed in between.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import TypeVar

from server.superlink.replay import Receive

T = TypeVar("T")


class Bell:
    """What one held request listens for.

    Attributes
    ----------
    gone : bool
        Whether the request's sender is gone.
    """

    def __init__(self, *, over: bool = False) -> None:
        self.gone = False
        self._over = over
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Have the listener look again."""
        self._rung.set()

    def end(self, *, gone: bool = False) -> None:
        """Have the listener wait no longer: the SuperLink ends, or there is nobody to answer."""
        self._over, self.gone = True, self.gone or gone
        self._rung.set()

    async def until(self, look: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
        """Call ``look``, now and whenever the bell has been rung, until it finds something; None after ``seconds``.

        It is called once in any case, once more if the SuperLink ends, and not any more once the sender is gone.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            self._rung.clear()
            if (found := await look()) is not None or self._over:
                return found
            try:
                async with asyncio.timeout_at(deadline):
                    await self._rung.wait()
            except TimeoutError:
                return None
            if self.gone:
                return None


class Bells:
    """The bells of the requests that are held, by name; no other thread than the event loop's may use them."""

    def __init__(self) -> None:
        self._listening: dict[Hashable, set[Bell]] = {}
        self._over = False

    @property
    def held(self) -> int:
        """The number of requests that are held."""
        return sum(map(len, self._listening.values()))

    @asynccontextmanager
    async def listening(self, name: Hashable, receive: Receive) -> AsyncIterator[Bell]:
        """Give a bell of this name, which ends once ``receive`` tells that the request's sender is gone."""
        bell = Bell(over=self._over)
        self._listening.setdefault(name, set()).add(bell)
        watching = asyncio.create_task(_end_with_sender(bell, receive))
        try:
            yield bell
        finally:
            watching.cancel()
            self._listening[name].discard(bell)
            if not self._listening[name]:
                del self._listening[name]

    def ring(self, name: Hashable) -> None:
        """Ring the bells of this name."""
        for bell in self._listening.get(name, ()):
            bell.ring()

    def ring_all(self) -> None:
        """Ring every bell: who may wait for what has changed."""
        for bells in self._listening.values():
            for bell in bells:
                bell.ring()

    def end(self) -> None:
        """Let every held request go, and hold none from now on: the SuperLink ends."""
        self._over = True
        for bells in self._listening.values():
            for bell in bells:
                bell.end()


async def _end_with_sender(bell: Bell, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    bell.end(gone=True)
