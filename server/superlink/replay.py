"""A request that the gate has read, put to the application behind it as often as needed; answers taken as a whole."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

# The types of the ASGI specification, version 3, whose scopes and messages are open mappings.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PROTOBUF = "application/protobuf"


@dataclass(frozen=True)
class Answer:
    """An answer as a whole."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @classmethod
    def of(cls, body: bytes, status: int = 200, kind: str = PROTOBUF) -> "Answer":
        """Return an answer of the gate's own."""
        return cls(status, ((b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))), body)

    async def give(self, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": self.body})


EMPTY = Answer.of(b"")
"""No message: protobuf writes a message without fields in no bytes."""


class Replay:
    """A request whose body has been read.

    Parameters
    ----------
    app
        The application behind the gate.
    scope
        Of the request.
    body
        The request's.
    """

    def __init__(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        self._app, self._scope, self.body = app, scope, body

    async def __call__(self, body: bytes | None = None) -> Answer:
        """Put the request to the application, with another body if one is given, and return its answer."""
        body = self.body if body is None else body
        headers = [(name, value) for name, value in self._scope["headers"] if name != b"content-length"]
        # What is in the way writes into scope and state, so that each time gets its own.
        scope = {**self._scope, "headers": [*headers, (b"content-length", b"%d" % len(body))]}
        if "state" in scope:
            scope["state"] = dict(scope["state"])
        status, answered, parts = 500, [], bytearray()

        async def send(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], list(message.get("headers", ()))
            elif message["type"] == "http.response.body":
                parts.extend(message.get("body", b""))

        await self._app(scope, once(body), send)
        return Answer(status, tuple(answered), bytes(parts))


async def read_body(receive: Receive) -> bytes | None:
    """Return the body of a request whose length has been checked; None if its sender is gone before it is whole."""
    body = bytearray()
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)
    return None


def parsed(kind: Any, body: bytes | None) -> Any:
    """Return ``body`` as a protobuf message of ``kind``; None where it is none."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return None if body is None else kind.FromString(body)
    except DecodeError:
        return None


def once(body: bytes) -> Receive:
    """Return a ``receive`` that gives a body that has been read already, and then nothing more."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        # Not "http.disconnect": the sender waits for the answer, and whoever answers may look whether it still does.
        return parts.pop() if parts else await asyncio.Future()

    return receive
