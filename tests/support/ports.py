"""Ports for servers that tests start, on loopback."""

import contextlib
import random
import socket

# Below those that the system hands out to connections (from 32768 on Linux), so that no connection can take the port
# before its server does, or while the server is away for a while; the choice is random, since tests run side by side.
_PORTS = range(12_000, 32_000)
_TRIES = 100


def free_port() -> int:
    """Return a port on which nothing listens."""
    for port in random.SystemRandom().sample(_PORTS, _TRIES):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"none of {_TRIES} ports could be bound")
