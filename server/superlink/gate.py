"""The gate before a SuperLink: who is not registered does not reach it. Everything is refused that is not let in here.

Flower checks the signatures of authenticated SuperNodes and the token of each task, and nothing else: whoever reaches
the port could start a run, and carry out another's. So the gate, outermost of the SuperLink's ASGI middleware, lets
pass

- pods, by the key of their Flower node, whose signature Flower then checks;
- modellers, by a token (`tokens`), to start, list and stop runs and to be handed the ServerApp of one;
- ServerApps, by the token of their task, which Flower has made and checks.

Nodes are registered by the process itself, from the cards, so no request can register, rename or remove one.
"""

import asyncio
import json
import logging
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from server.deployed.credentials import GATE_CODE
from server.superlink.registry import Registry
from server.superlink.tokens import UNKNOWN, TokenRefused, check_token

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH = "/health"
START_RUN = "/v1/control/start-run"
ACTIVATE = "/v1/fleet/activate-node"
OF_PODS = frozenset({ACTIVATE}) | frozenset(
    f"/v1/fleet/{call}"
    for call in (
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
OF_MODELLERS = frozenset({START_RUN, "/v1/control/list-runs", "/v1/control/stop-run", "/v1/runtime/acquire-task"})
OF_TASKS = frozenset(
    f"/v1/runtime/{call}"
    for call in (
        "send-task-heartbeat",
        "pull-task-input",
        "push-task-output",
        "push-object",
        "pull-object",
        "confirm-message-received",
        "push-messages",
        "pull-messages",
        "get-nodes",
        "push-logs",
    )
)
"""Paths with which Flower demands the token of a task; a test holds it to that."""

NODE_KEY_HEADER = b"flwr-public-key"
POD_UNKNOWN = "this pod's key is not registered at this SuperLink: give its operator the pod's card"
_NOT_HERE = "there is nothing here"
_SEEN_SECONDS = 10.0

log = logging.getLogger("flwr")


class Gate:
    """ASGI middleware that lets in whom ``registry`` knows.

    Parameters
    ----------
    app
        What is behind the gate.
    registry
        Who is registered; asked anew for every request.
    audience
        How tokens name this SuperLink.
    changed
        Is called with the application, before a request is looked at, whenever the register has changed.
    """

    def __init__(
        self, app: ASGIApp, registry: Registry, audience: str, changed: Callable[[Any], Awaitable[None]]
    ) -> None:
        self._app = app
        self._registry = registry
        self._audience = audience
        self._changed = changed
        self._seen = Seen(registry.directory / "seen")
        self._settled = 0
        self._settling = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer it with a refusal."""
        if scope["type"] == "lifespan":
            await self._settle(scope["app"])
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._settle(scope["app"])
            await self._admit(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _settle(self, application: Any) -> None:
        """Have the register's changes take effect before anything else happens."""
        self._registry.refresh()
        if self._settled != self._registry.version:
            async with self._settling:
                if self._settled != (version := self._registry.version):
                    await self._changed(application)
                    self._settled = version

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if (path == HEALTH and method in ("GET", "HEAD")) or (method == "POST" and path in OF_TASKS):
            await self._app(scope, receive, send)
        elif method == "POST" and path in OF_PODS:
            name = self._pod(scope)
            if name is None:
                # A SuperNode that is told 401 ends at once and without a word, one that cannot begin says why.
                await _refuse(send, 404 if path == ACTIVATE else 401, POD_UNKNOWN, scope)
            else:
                await self._app(scope, receive, self._seen.noting(name, send))
        elif method == "POST" and path in OF_MODELLERS:
            try:
                name = self._modeller(scope)
            except TokenRefused as refusal:
                await _refuse(send, 403, str(refusal), scope)
                return
            send = self._seen.noting(name, send)
            await self._app(scope, receive, self._starting(name, send) if path == START_RUN else send)
        else:
            await _refuse(send, 404, _NOT_HERE, scope)

    def _pod(self, scope: Scope) -> str | None:
        sent = _only(scope, NODE_KEY_HEADER)
        try:
            return None if sent is None else self._registry.pod_with(b64decode(sent, validate=True))
        except ValueError:
            return None

    def _modeller(self, scope: Scope) -> str:
        sent = _only(scope, b"authorization")
        kind, _, token = (sent or b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            raise TokenRefused(UNKNOWN)
        return check_token(token.strip(), self._audience, self._registry.modeller_with).name

    def _starting(self, name: str, send: Send) -> Send:
        """Return ``send`` so that it notes which run ``name`` has started."""
        from flwr.proto.control_pb2 import StartRunResponse

        answered = bytearray()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            answered.extend(message.get("body", b""))
            if status == 200 and message["type"] == "http.response.body" and not message.get("more_body"):
                run = StartRunResponse.FromString(bytes(answered)).run_id
                self._registry.started(run, name)
                log.info("modeller %s has started run %d", name, run)
            await send(message)

        return noting


class Seen:
    """When each party was last let in and served: the time of the file of its name in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._noted: dict[str, float] = {}

    def noting(self, name: str, send: Send) -> Send:
        """Return ``send`` so that it notes a request of ``name`` that what is behind the gate has accepted."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._note(name)
            await send(message)

        return noting

    def times(self) -> Mapping[str, float]:
        """Return name -> seconds since the epoch."""
        if not self._directory.exists():
            return {}
        return {path.name: path.stat().st_mtime for path in self._directory.iterdir()}

    def _note(self, name: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(name, -_SEEN_SECONDS) >= _SEEN_SECONDS:
            self._noted[name] = now
            self._directory.mkdir(mode=0o700, exist_ok=True)
            (self._directory / name).touch()


def _only(scope: Scope, header: bytes) -> bytes | None:
    """Return the value of ``header`` if it was sent once."""
    values = [value for name, value in scope["headers"] if name == header]
    return values[0] if len(values) == 1 else None


async def _refuse(send: Send, status: int, text: str, scope: Scope) -> None:
    client = (scope.get("client") or ("somewhere",))[0]
    log.info("refused %s %.80r from %s: %s", scope["method"], scope["path"], client, text)
    body = json.dumps({"code": GATE_CODE, "detail": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
