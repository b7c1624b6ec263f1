"""What the gate checks of a request before a byte of its body is read: who sends it, how long it is, how slow.

Flower buffers a body before it looks at who sent it, so that anybody could fill the SuperLink's memory.
"""

import asyncio
from base64 import b64decode
from datetime import datetime

from server.superlink.replay import Message, Receive, Scope

MAX_BODY = 64 << 20
"""Most bytes of a request. Flower sends arrays in pieces of 5 MiB, and an app's bundle is a few MiB at most."""
BODY_SECONDS = 60.0
"""Longest time between two parts of a body."""
_WINDOW = 305.0
"""Seconds by which a node's signed time may differ from now; Flower allows as many."""


def size_of(scope: Scope) -> int | None:
    """Return the length that a request states for its body; None where it states none, or not one number."""
    stated = [value for name, value in scope["headers"] if name == b"content-length"]
    if not stated:
        return None if any(name == b"transfer-encoding" for name, _ in scope["headers"]) else 0
    return int(stated[0]) if len(stated) == 1 and stated[0].isdigit() and len(stated[0]) < 20 else None


def without_stalling(receive: Receive, seconds: float = BODY_SECONDS) -> Receive:
    """Return ``receive`` such that a sender who stops in the middle of a body counts as gone."""

    async def receiving() -> Message:
        if complete:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), seconds)
        except TimeoutError:
            return {"type": "http.disconnect"}
        if not message.get("more_body"):
            complete.append(True)
        return message

    complete: list[bool] = []
    return receiving


def signature_holds(key: bytes, timestamp: bytes | None, signature: bytes | None) -> bool:
    """Say whether a node has signed the time of its request, and lately; Flower checks the same after the body.

    Parameters
    ----------
    key : bytes
        The node's public key, PEM.
    timestamp, signature : bytes or None
        The headers, as they were sent.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from flwr.supercore.date import now
    from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

    try:
        if timestamp is None or signature is None:
            return False
        age = (now() - datetime.fromisoformat(timestamp.decode("ascii"))).total_seconds()
        public = bytes_to_public_key(key)
        return abs(age) < _WINDOW and bool(verify_signature(public, timestamp, b64decode(signature, validate=True)))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
