"""What the gate does with the requests that it has admitted: pulls are held, and who is there is noted."""

import asyncio
import logging
import re
from collections.abc import Callable, Collection
from typing import Any

from starlette.concurrency import run_in_threadpool

from server.superlink import routes
from server.superlink.bells import Bells
from server.superlink.housekeeping import clear_ended
from server.superlink.long_polls import LongPolls
from server.superlink.presence import Presence
from server.superlink.replay import Answer, ASGIApp, Message, Receive, Replay, Scope, Send, read_body

_HEARTBEAT_SECONDS = 30.0
"""Flower's own interval, which a node that is back states with its next heartbeat."""

log = logging.getLogger("flwr")


class Traffic:
    """The requests of pods and ServerApps on their way to Flower.

    Parameters
    ----------
    app
        The application behind the gate.
    bells
        Those of the pulls that are held.
    ended
        Called in a thread with Flower's LinkState and runs that may be over; returns those that are.

    Attributes
    ----------
    state
        Flower's LinkState, once the application is there.
    polls, presence
        What is known of messages and of pods.
    """

    def __init__(
        self, app: ASGIApp, bells: Bells, ended: Callable[[Any, Collection[int]], Collection[int]] = clear_ended
    ) -> None:
        self._app, self._ended = app, ended
        self._runs: set[int] = set()
        self._clearing: set[asyncio.Task[None]] = set()
        self.polls = LongPolls(bells)
        self.state: Any = None
        self.presence = Presence(self._take_off, self._take_on)

    async def of_pod(
        self, scope: Scope, receive: Receive, send: Send, name: str, check: Callable[[], Answer | None]
    ) -> None:
        """Pass on a request of the pod ``name``; ``check`` says why it is admitted no longer, or gives None."""
        path = scope["path"]
        starts = path == routes.ACTIVATE
        async with self.presence.request(name, starts=starts, version=_version(scope) if starts else ""):
            if path not in (routes.PULL, routes.PUSH, routes.PUSH_OBJECT):
                await self._app(scope, receive, _noting(send, lambda: self._served(path, name)))
                return
            body = await read_body(receive)
            if body is None:
                return
            replay = Replay(self._app, scope, body)
            if path == routes.PUSH_OBJECT:
                await (await self.polls.push_object(replay)).give(send)
            elif path == routes.PUSH:
                answer = await self.polls.push_of_pod(replay, name)
                if answer.status == 200:
                    self.presence.done(name)
                await answer.give(send)
            else:
                self.presence.done(name)
                pulled = await self.polls.pull_of_pod(replay, receive, name, check)
                self.presence.pulled(name, pulled.node, handed=pulled.handed, broke=pulled.broke)
                await pulled.answer.give(send)

    async def of_serverapp(self, scope: Scope, receive: Receive, send: Send, run: int) -> None:
        """Pass on a request of the ServerApp of ``run``."""
        path = scope["path"]
        if path not in (routes.PULL_OF_TASK, routes.PUSH_OF_TASK, routes.PUSH_OBJECT_OF_TASK):
            await self._app(scope, receive, _noting(send, self.clear) if path == routes.TASK_OUTPUT else send)
            return
        self._runs.add(run)
        body = await read_body(receive)
        if body is None:
            return
        replay = Replay(self._app, scope, body)
        if path == routes.PUSH_OBJECT_OF_TASK:
            answer = await self.polls.push_object(replay)
        elif path == routes.PUSH_OF_TASK:
            answer = await self.polls.push_of_serverapp(replay)
        else:
            answer = await self.polls.pull_of_serverapp(replay, receive, run)
        await answer.give(send)

    def clear(self) -> None:
        """Clear away what runs have left that are over by now."""
        task = asyncio.create_task(self._clear())
        self._clearing.add(task)  # asyncio itself keeps no reference
        task.add_done_callback(self._clearing.discard)

    async def _clear(self) -> None:
        try:
            over = set(await run_in_threadpool(self._ended, self.state, frozenset(self._runs)))
            self._runs -= over
            self.polls.unanswered.over(over)
        except Exception:
            log.exception("what ended runs have left could not be cleared away")

    def _served(self, path: str, name: str) -> None:
        if path == routes.RUN:
            self.presence.asks(name)
        elif path == routes.CONFIRM:
            self.polls.confirmed(name)
            self.presence.took(name)
        elif path == routes.DEACTIVATE:
            self.presence.ended(name)
            self.polls.gone(name)

    async def _take_off(self, name: str, node: int) -> None:
        await self._change(self.state.deactivate_node, node)
        log.info("pod %s is not heard of any more: node %d is offline", name, node)
        self.polls.gone(name)

    async def _take_on(self, name: str, node: int) -> None:
        await self._change(self.state.acknowledge_node_heartbeat, node, _HEARTBEAT_SECONDS)
        log.info("pod %s is back: node %d is online", name, node)

    async def _change(self, change: Callable[..., bool], *arguments: Any) -> None:
        try:
            await run_in_threadpool(change, *arguments)
        except Exception:
            # Flower's own heartbeats say the same later, and the pod's request has nothing to do with it.
            log.exception("the state of a node could not be changed")


def _version(scope: Scope) -> str:
    """Return the version that a pod gives of its Flower, if it gives one that looks like it."""
    given = dict(scope["headers"]).get(b"flwr-package-version", b"").decode("latin-1")
    return given if re.fullmatch(r"[0-9A-Za-z.+!-]{1,40}", given) else ""


def _noting(send: Send, done: Callable[[], None]) -> Send:
    """Return ``send`` such that ``done`` is called once the application has accepted the request."""

    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            done()
        await send(message)

    return noting
