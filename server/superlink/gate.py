"""The gate in front of a SuperLink: only registered parties reach it, and everything not allowed here is refused.

Flower checks the signatures of authenticated SuperNodes and the token of each task, and nothing else: whoever reaches
the port could start a run, or carry out somebody else's. The gate is the outermost of the SuperLink's ASGI middleware,
so it sees every request before any of Flower's code does. It admits

- pods, by the key of their Flower node and the signature of the request's time made with it;
- modellers, by a token (`tokens`), to start and list runs, to stop their own and to obtain the ServerApps of these;
- ServerApps, by the token of their task, which Flower issues.

All of that is checked in the headers: nobody else's body is read (`request_checks`).

The SuperLink's own process registers the nodes, from the cards, so no request can register, rename or remove one.
"""

import asyncio
import json
import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Collection, Set
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.concurrency import run_in_threadpool

from server.deployed.credentials import GATE_CODE
from server.superlink.bells import Bells
from server.superlink.housekeeping import clear_ended
from server.superlink.last_seen import LastSeen
from server.superlink.registry import Registry
from server.superlink.replay import EMPTY, Answer, ASGIApp, Message, Receive, Replay, Scope, Send, parsed, read_body
from server.superlink.request_checks import MAX_BODY, signature_holds, size_of, without_stalling
from server.superlink.routes import (
    ACQUIRE,
    ACTIVATE,
    HEALTH,
    OF_MODELLERS,
    OF_PODS,
    OF_TASKS,
    START_RUN,
    STOP_RUN,
)
from server.superlink.snapshot import snapshot
from server.superlink.status import SOCKET, serving_status
from server.superlink.tokens import UNKNOWN, TokenRefused, check_token
from server.superlink.traffic import Traffic

NODE_KEY_HEADER = b"flwr-public-key"
TASK_TOKEN_HEADER = b"flwr-task-token"
POD_UNSIGNED = "the pod's signature of the time does not hold: is the clock of its machine right?"
NO_TASK = "the token of a task is needed here, and this is none"
OTHERS_RUN = "this run is another modeller's"
POD_UNKNOWN = "this pod's key is not registered at this SuperLink: give its operator the pod's card"
_NOT_HERE = "there is nothing here"

# Flower's own logger, so that the gate's lines stand in superlink.log among those of the requests they are about.
log = logging.getLogger("flwr")


class Gate:
    """ASGI middleware that admits the parties in ``registry``.

    Parameters
    ----------
    app
        The application behind the gate.
    registry
        The registered parties; consulted anew for every request.
    audience
        How tokens name this SuperLink.
    changed
        Called with the application, before a request is examined, whenever the register has changed.
    bells
        What lets held requests go; ending them lets all go at once.
    ended
        Called in a thread with Flower's state and runs that may be over; returns those that are, cleared away.
    """

    def __init__(
        self,
        app: ASGIApp,
        registry: Registry,
        audience: str,
        changed: Callable[[Any], Awaitable[None]],
        bells: Bells | None = None,
        ended: Callable[[Any, Collection[int]], Collection[int]] = clear_ended,
    ) -> None:
        self._app = app
        self._registry = registry
        self._audience = audience
        self._changed = changed
        self._last_seen = LastSeen(registry.directory / "seen")
        self._applied = 0
        self._applying = asyncio.Lock()
        self._bells = bells or Bells()
        self._traffic = Traffic(app, self._bells, ended)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer it with a refusal."""
        if scope["type"] == "lifespan":
            await self._apply_changes(scope["app"])
            async with self._telling_status(scope["app"]):
                await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._apply_changes(scope["app"])
            if self._traffic.state is None and scope["app"] is not None:
                self._traffic.state = scope["app"].state.linkstate_factory.state()
            await self._admit(scope, receive, send)
        else:
            # Flower has no WebSocket routes; if it ever gets some, they are closed (1008: policy violation).
            await send({"type": "websocket.close", "code": 1008})

    def _telling_status(self, application: Any) -> AbstractAsyncContextManager[None]:
        async def told() -> Any:
            state = application.state.linkstate_factory.state()
            return await snapshot(self._traffic, state, self._registry.starters())

        return serving_status(self._registry.directory / SOCKET, told)

    async def _apply_changes(self, application: Any) -> None:
        """Have changes of the register take effect before anything else happens.

        A revocation is made by another process while this one serves. Applying it lazily, before the next request,
        needs no watcher, and a revoked party cannot get in between.
        """
        self._registry.refresh()
        if self._applied != self._registry.version:
            async with self._applying:
                # Requests that waited for the lock find the work done. The version is read before the call, so a
                # change that comes in during the call is applied by the next request.
                if self._applied != (version := self._registry.version):
                    await self._changed(application)
                    self._applied = version
                    self._bells.ring_all()  # whose request is held may be revoked, or his run stopped

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Paths are compared as they are, not normalised: a spelling that only a router would map to a path in the
        # lists is refused.
        method, path = scope["method"], scope["path"]
        size, receive = size_of(scope), without_stalling(receive)
        if size is None or size > MAX_BODY or (size and method != "POST"):
            await _refusal(413, f"a request states its length, and has at most {MAX_BODY >> 20} MiB", scope).give(send)
        elif path == HEALTH and method in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        elif method == "POST" and path in OF_TASKS:
            run = await self._run_of_task(scope)
            if run is not None:
                await self._traffic.of_serverapp(scope, receive, send, run)
            else:
                await _refusal(401, NO_TASK, scope).give(send)
        elif method == "POST" and path in OF_PODS:
            pod = self._pod_of(scope)
            if pod is None:
                # A SuperNode that receives 401 ends at once and silently; one that cannot activate says why.
                await _refusal(404 if path == ACTIVATE else 401, POD_UNKNOWN, scope).give(send)
            elif not _is_signed(scope):
                await _refusal(401, POD_UNSIGNED, scope).give(send)
            else:

                def check() -> Answer | None:
                    if self._pod_of(scope) != pod:
                        return _refusal(401, POD_UNKNOWN, scope)
                    # Flower would refuse a signature that has become too old; the node signs the time anew.
                    return None if _is_signed(scope) else EMPTY

                await self._traffic.of_pod(scope, receive, self._last_seen.recording(pod, send), pod, check)
        elif method == "POST" and path in OF_MODELLERS:
            try:
                name = self._modeller_of(scope)
            except TokenRefused as refusal:
                await _refusal(403, str(refusal), scope).give(send)
                return
            send = self._last_seen.recording(name, send)
            if path == ACQUIRE:
                await self._hand_out_task(scope, receive, send, name)
            elif path == STOP_RUN:
                await self._stop(scope, receive, send, name)
            else:
                await self._app(scope, receive, self._recording_start(name, send) if path == START_RUN else send)
        else:
            await _refusal(404, _NOT_HERE, scope).give(send)

    def _pod_of(self, scope: Scope) -> str | None:
        """Return the registered pod whose node's public key the request shows; its signature proves who sends it."""
        key = _node_key(scope)
        return self._registry.pod_with(key) if key else None

    async def _run_of_task(self, scope: Scope) -> int | None:
        """Return the run whose task's token the request bears; None if it bears none."""
        token = _single_header(scope, TASK_TOKEN_HEADER)
        if not token:
            return None
        state = scope["app"].state.linkstate_factory.state()
        task = await run_in_threadpool(state.get_task_by_token, token.decode("latin-1"))
        return None if task is None else int(task.run_id)

    async def _hand_out_task(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """Claim the oldest pending task of the modeller's own runs; Flower would hand out anybody's."""
        from flwr.proto.runtime_pb2 import AcquireTaskRequest, AcquireTaskResponse

        request = parsed(AcquireTaskRequest, await read_body(receive))
        wanted = set(request.supported_task_types) if request else set()
        state = scope["app"].state.linkstate_factory.state()
        answer = await run_in_threadpool(self._claim, state, wanted, name)
        await Answer.of((answer or AcquireTaskResponse()).SerializeToString()).give(send)

    def _claim(self, state: Any, wanted: Set[str], name: str) -> Any:
        from flwr.common.constant import Status
        from flwr.proto.runtime_pb2 import AcquireTaskResponse

        starters = self._registry.starters()
        for task in state.get_tasks(statuses=[Status.PENDING], order_by="pending_at", ascending=True):
            own = starters.get(task.run_id) == name and task.type in wanted
            if own and (token := state.claim_task(task.task_id)):
                return AcquireTaskResponse(task=task, token=token)
        return None

    async def _stop(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """Let a modeller stop runs of their own."""
        from flwr.proto.control_pb2 import StopRunRequest

        body = await read_body(receive)
        request = parsed(StopRunRequest, body)
        if body is None or request is None or self._registry.starters().get(request.run_id, name) != name:
            await _refusal(403, OTHERS_RUN, scope).give(send)
        else:
            await (await Replay(self._app, scope, body)()).give(send)
            self._bells.ring(("run", request.run_id))

    def _modeller_of(self, scope: Scope) -> str:
        """Return the modeller whose token the request bears; raises `TokenRefused` if it bears none that holds."""
        header = _single_header(scope, b"authorization")
        # Any bytes may come in a header, and latin-1 decodes them all.
        kind, _, token = (header or b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            raise TokenRefused(UNKNOWN)
        return check_token(token.strip(), self._audience, self._registry.modeller_with).name

    def _recording_start(self, name: str, send: Send) -> Send:
        """Return ``send`` such that it records the run that ``name`` has started.

        Flower knows no accounts here, so the id in its response is the only place where run and modeller meet. It is
        recorded before the response is passed on: a run that the modeller knows of is one that a revocation stops.
        """
        from flwr.proto.control_pb2 import StartRunResponse

        body = bytearray()
        status = 0

        async def record(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))  # a response may come in several parts
            if status == 200 and message["type"] == "http.response.body" and not message.get("more_body"):
                run = StartRunResponse.FromString(bytes(body)).run_id
                self._registry.started(run, name)
                log.info("modeller %s has started run %d", name, run)
                self._traffic.clear()
            await send(message)

        return record


def _node_key(scope: Scope) -> bytes | None:
    try:
        return b64decode(_single_header(scope, NODE_KEY_HEADER) or b"", validate=True) or None
    except ValueError:
        return None


def _is_signed(scope: Scope) -> bool:
    timestamp, signature = (_single_header(scope, name) for name in (b"flwr-timestamp", b"flwr-signature"))
    return signature_holds(_node_key(scope) or b"", timestamp, signature)


def _single_header(scope: Scope, header: bytes) -> bytes | None:
    """Return the value of ``header`` if it was sent exactly once.

    Of a header sent twice the gate might read the one and Flower the other.
    """
    values = [value for name, value in scope["headers"] if name == header]
    return values[0] if len(values) == 1 else None


def _refusal(status: int, text: str, scope: Scope) -> Answer:
    client = (scope.get("client") or ("an unknown address",))[0]
    # The path is the sender's own choice: %r keeps line breaks out of the log, and .80 keeps it short.
    log.info("refused %s %.80r from %s: %s", scope["method"], scope["path"], client, text)
    return Answer.of(json.dumps({"code": GATE_CODE, "detail": text}).encode(), status, "application/json")
