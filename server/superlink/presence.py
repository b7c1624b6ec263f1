"""Which pods are there: the gate sees each request begin and end, so it knows sooner than Flower's heartbeats.

Flower takes a node for online until 60 seconds after its last heartbeat. Here a pod is taken off

- if it has no request under way and none follows within `IDLE_SECONDS`: a killed pod's held pull breaks off at once;
- while it works on a message, if it is known to ask every few seconds whether its run goes on, and `BUSY_SECONDS` have
  passed without any request. Flower's own SuperNode asks for a run before it has the message, and never after;
- otherwise, when Flower's own time is over.

Flower then omits its node, and ServerApps that wait for its replies learn at once that they will not come. A pod that
was only suspended, or cut off for a while, is back with its next request.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

IDLE_SECONDS = 6.0
"""Longest pause between two requests of a pod that has nothing to do; Flower's SuperNode pauses for three seconds."""
BUSY_SECONDS = 9.0
"""Longest pause of a pod that works and asks every three seconds meanwhile whether its run goes on."""
TAKING_SECONDS = 20.0
"""Longest pause of a pod that fetches its message; Flower's clients pause for ten seconds and a fifth at most."""
_LATE = 1.0
"""A timer that comes so late tells that this process could not run, so that it could not hear of anybody either."""


@dataclass(frozen=True)
class PodSeen:
    """What others may know of a pod: whether it works on a message, and its version of Flower; "" if unknown."""

    busy: bool
    version: str


@dataclass
class _Pod:
    """What is known of a pod. ``node`` is 0 until it has pulled; ``broke`` if its pull ended without an answer.

    ``taken`` is whether it has the message that it works on, and ``signs`` whether it is known to ask meanwhile;
    ``version`` is Flower's at the pod, as the pod gives it.
    """

    node: int = 0
    under_way: int = 0
    heard: float = 0.0
    busy: bool = False
    taken: bool = False
    signs: bool = False
    broke: bool = False
    version: str = ""
    timer: asyncio.TimerHandle | None = None
    leaving: asyncio.Task[None] | None = None


class Presence:
    """Takes pods off and on again.

    Parameters
    ----------
    take_off, take_on
        Called with a pod's name and its node when it is missed, and when it is heard of again.
    """

    def __init__(
        self, take_off: Callable[[str, int], Awaitable[None]], take_on: Callable[[str, int], Awaitable[None]]
    ) -> None:
        self._take_off, self._take_on = take_off, take_on
        self._pods: dict[str, _Pod] = {}

    @asynccontextmanager
    async def request(self, name: str, *, starts: bool = False, version: str = "") -> AsyncIterator[None]:
        """Note a request of the pod while it is under way; ``starts`` if with it a new process of the pod registers."""
        pod = self._pods.setdefault(name, _Pod())
        pod.version = version or pod.version
        if starts and pod.broke and not pod.under_way and pod.leaving is None:
            # The process before it is known to be gone. Flower would not let in the new one until its time is over.
            pod.leaving = asyncio.create_task(self._leave(name, pod))
        pod.under_way += 1
        pod.broke = False
        try:
            if (leaving := pod.leaving) is not None:
                await asyncio.shield(leaving)
                if pod.leaving is leaving:
                    pod.leaving = None
                    if not starts:
                        await self._take_on(name, pod.node)
            if starts:
                pod.node, pod.busy, pod.signs = 0, False, False
            yield
        finally:
            pod.under_way -= 1
            pod.heard = asyncio.get_running_loop().time()
            self._watch(name, pod)

    def done(self, name: str) -> None:
        """Note that the pod works on no message: it has answered, or asks for another."""
        self._pods[name].busy = False

    def pulled(self, name: str, node: int, *, handed: bool, broke: bool) -> None:
        """Note how the pod's pull has ended: whether it was handed a message, or was gone before."""
        pod = self._pods[name]
        pod.node, pod.busy, pod.taken, pod.broke = node, handed, False, broke

    def took(self, name: str) -> None:
        """Note that the pod has the whole message that it works on."""
        self._pods[name].taken = True

    def asks(self, name: str) -> None:
        """Note that the pod has asked whether its run goes on."""
        pod = self._pods[name]
        pod.signs = pod.signs or (pod.busy and pod.taken)

    def ended(self, name: str) -> None:
        """Note that the pod has said goodbye."""
        pod = self._pods[name]
        pod.node, pod.busy = 0, False

    def pods(self) -> Mapping[str, "PodSeen"]:
        """Return what is known of each pod that has asked for anything since this SuperLink has started."""
        return {name: PodSeen(pod.busy, pod.version) for name, pod in self._pods.items()}

    def _patience(self, pod: _Pod) -> float | None:
        """Return for how long the pod may be silent; None if that is Flower's affair."""
        if not pod.node or pod.leaving is not None:
            return None
        if not pod.busy:
            return IDLE_SECONDS
        if pod.signs:
            return BUSY_SECONDS
        return None if pod.taken else TAKING_SECONDS

    def _watch(self, name: str, pod: _Pod) -> None:
        patience = self._patience(pod)
        if patience is None or pod.under_way:
            return
        # One timer a pod, which looks when it comes how long the silence is, rather than a new one for every request.
        due = pod.heard + patience
        if pod.timer is not None:
            if pod.timer.when() <= due:
                return
            pod.timer.cancel()
        pod.timer = asyncio.get_running_loop().call_at(due, self._look, name, pod, due)

    def _look(self, name: str, pod: _Pod, due: float) -> None:
        pod.timer = None
        patience, now = self._patience(pod), asyncio.get_running_loop().time()
        if pod.under_way or patience is None:
            return
        if now - due > _LATE:
            pod.heard = now
        if pod.heard + patience > now:
            self._watch(name, pod)
        else:
            pod.leaving = asyncio.create_task(self._leave(name, pod))

    async def _leave(self, name: str, pod: _Pod) -> None:
        pod.busy = False
        await self._take_off(name, pod.node)
