"""An in-process grid on which pods die, answer late or get things twice."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from flwr.app import Message

from tests.support.in_process import InProcessGrid


class Killed(BaseException):
    """A pod's process dies, in the middle of what it was doing."""


@dataclass
class FaultyGrid(InProcessGrid):
    """Delivers as told; nothing is recorded, for speed.

    Attributes
    ----------
    dead : set of int
        Nodes that answer nothing; they are still listed as connected.
    kill_on_request, kill_after_reply : dicts of node to message type
        Nodes that die when such a message reaches them, or once their answer to it has left.
    late, slow : dicts of node to message type
        Nodes whose first answer to such a message comes when nobody waits for it any more, or after a few looks.
    doubled_reply, doubled_request, doubled_reversed : dicts of node to message type
        Nodes whose first answer comes twice; that get the first such message twice, and whose first answer arrives
        first, or whose second does.
    restarted : dict of node to message type
        Nodes that have lost their memory when such a message reaches them.
    before : callable
        Is called before each message is delivered, with its type and the node.
    """

    dead: set[int] = field(default_factory=set)
    kill_on_request: dict[int, str] = field(default_factory=dict)
    kill_after_reply: dict[int, str] = field(default_factory=dict)
    late: dict[int, str] = field(default_factory=dict)
    slow: dict[int, str] = field(default_factory=dict)
    doubled_reply: dict[int, str] = field(default_factory=dict)
    doubled_request: dict[int, str] = field(default_factory=dict)
    doubled_reversed: dict[int, str] = field(default_factory=dict)
    restarted: dict[int, str] = field(default_factory=dict)
    before: Callable[[str, int], None] = lambda kind, node: None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._inbox: dict[str, list[Message]] = {}
        self._held: dict[str, tuple[int, list[Message]]] = {}  # looks left, or never

    def _push(self, message: Message) -> str:
        self._sent += 1
        identifier = f"message-{self._sent}"
        message.metadata.__dict__["_message_id"] = identifier
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        self.before(kind, node)
        replies = self._answers(message, node, kind)
        if replies and self._first(self.late, node, kind):
            self._held[identifier] = (-1, replies)
        elif replies and self._first(self.slow, node, kind):
            self._held[identifier] = (2, replies)
        elif replies:
            self._inbox[identifier] = replies
        return identifier

    def _answers(self, message: Message, node: int, kind: str) -> list[Message]:
        """Return the pod's replies in the order in which they arrive."""
        if node in self.dead:
            return []
        if self._first(self.kill_on_request, node, kind):
            self.dead.add(node)
            return []
        if self._first(self.restarted, node, kind):
            self.contexts[node].state.clear()
        times = 2 if (reverse := self._first(self.doubled_reversed, node, kind)) else 1
        times = 2 if self._first(self.doubled_request, node, kind) else times
        try:
            replies = [self.app(copy.deepcopy(message), self.contexts[node]) for _ in range(times)]
        except Killed:
            self.dead.add(node)
            return []
        if self._first(self.kill_after_reply, node, kind):
            self.dead.add(node)
        if self._first(self.doubled_reply, node, kind):
            replies *= 2
        return replies[::-1] if reverse else replies

    @staticmethod
    def _first(faults: dict[int, str], node: int, kind: str) -> bool:
        if faults.get(node) != kind:
            return False
        del faults[node]
        return True

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        asked = set(message_ids)
        for identifier, (looks, replies) in list(self._held.items()):
            if identifier not in asked or looks == 0:  # given up, or come at last
                del self._held[identifier]
                self._inbox[identifier] = replies
            elif looks > 0:
                self._held[identifier] = (looks - 1, replies)
        return [reply for identifier in list(self._inbox) for reply in self._inbox.pop(identifier)]  # asked for or not
