"""Messages whose contents are still on their way to the SuperLink.

Flower takes a message's metadata first and its contents, as objects, after that. It gives the metadata to the receiver
at once, who then asks for each object again and again, at intervals that double from one second on. Whoever waits for a
message at the gate is told of it only when it is whole.
"""

import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Any

_SESSION_SECONDS = 180.0
"""After so long without an object Flower gives up the session in which a message's objects are sent."""


@dataclass(eq=False)
class Upload:
    """A message of which the objects ``missing`` are yet to come.

    ``bell`` is what is rung then, ``replies_to`` is the message that it answers, if it does, and ``sender`` the pod.
    """

    bell: Hashable
    missing: set[str]
    replies_to: str = ""
    sender: str = ""
    touched: float = field(default_factory=time.monotonic)


class Uploads:
    """The messages on their way, by Flower's session.

    Parameters
    ----------
    ring
        Called with a message's bell when the message is whole.
    """

    def __init__(self, ring: Callable[[Hashable], None]) -> None:
        self._ring = ring
        self._sessions: dict[str, list[Upload]] = {}

    def begin(self, session: str, upload: Upload) -> None:
        """Note a message that is on its way; one that needs no object is whole at once."""
        for given_up in self._forget(lambda known: time.monotonic() - known.touched > _SESSION_SECONDS):
            self._ring(given_up.bell)
        if upload.missing:
            self._sessions.setdefault(session, []).append(upload)
        else:
            self._ring(upload.bell)

    def stored(self, session: str, name: str) -> None:
        """Note that the object ``name`` has come."""
        uploads = self._sessions.pop(session, [])
        for upload in uploads:
            upload.touched = time.monotonic()
            upload.missing.discard(name)
        if incomplete := [upload for upload in uploads if upload.missing]:
            self._sessions[session] = incomplete
        for upload in uploads:
            if not upload.missing:
                self._ring(upload.bell)

    def to(self, bell: Hashable) -> list[Upload]:
        """Return the messages on their way of which ``bell`` will tell."""
        return [upload for uploads in self._sessions.values() for upload in uploads if upload.bell == bell]

    def drop(self, sender: str) -> None:
        """Forget what the pod ``sender`` was sending: it is gone."""
        self._forget(lambda known: known.sender == sender)

    def _forget(self, over: Callable[[Upload], bool]) -> list[Upload]:
        forgotten = [upload for uploads in self._sessions.values() for upload in uploads if over(upload)]
        for session, uploads in list(self._sessions.items()):
            self._sessions[session] = [upload for upload in uploads if upload not in forgotten]
            if not self._sessions[session]:
                del self._sessions[session]
        return forgotten


def objects_of(tree: Any, wanted: Collection[str]) -> set[str]:
    """Return which of the objects ``wanted`` are in Flower's ``ObjectTree``."""
    found, trees = set[str](), [tree]
    while trees:
        one = trees.pop()
        if one.object_id in wanted:
            found.add(one.object_id)
        trees.extend(one.children)
    return found
