"""One trip to the pods over Flower's Grid: a message to each, replies as they come, a deadline."""

import gc
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from flwr.app import ArrayRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fl_app.flower import records
from fl_app.flower.protocol_settings import Timing
from fl_app.secagg.errors import MalformedMessage
from fl_app.system.printable import one_line
from strategies.replies import incoming

OnWait = Callable[[str, Sequence[str]], None]
"""Is called with a trip and the pods whose replies are outstanding, such as ``on_wait("train", ["hospital-b"])``."""

TTL_MARGIN = 30.0
_ELAPSED_PART, _SHORTEST_INTERVAL = 0.05, 0.005
"""Time from one poll that brings nothing to the next: 5% of the elapsed time, at least 5 ms, at most `Timing.poll`.

A SuperLink behind fl-app's gate holds a poll until a reply comes, for longer than that; then nothing is left to pause.
"""
_ERRORS: Mapping[int, str] = MappingProxyType(
    {
        ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "its node could not load the app, or refuses it",
        ErrorCode.CLIENT_APP_RAISED_EXCEPTION: "its app failed; the pod's own log says why",
        ErrorCode.MESSAGE_UNAVAILABLE: "the message to it, or part of its answer, was lost",
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "its answer did not come in time",
        ErrorCode.NODE_UNAVAILABLE: "its node is not connected any more",
        ErrorCode.INVALID_FAB: "its node does not accept this app",
        ErrorCode.CLIENT_APP_CRASHED: "its app was killed or crashed",
    }
)
"""What Flower's error codes mean. The text that comes with them is written by the node, so it is shown to nobody."""


@dataclass(frozen=True)
class Reply:
    """What came back from one node: the content, or why there is none."""

    node: int
    content: RecordDict | None
    failure: str = ""

    def refusal(self) -> records.Refusal | None:
        """Return the refusal in this reply, if it is one; its text stays in its line, wherever it is told or logged."""
        if self.content is None:
            return None
        try:
            refusal = records.take(self.content, records.Refusal)
        except MalformedMessage:
            return None
        return replace(refusal, text=one_line(refusal.text))


@dataclass(frozen=True)
class Quorum:
    """How many answers suffice, and how long the other nodes are then waited for.

    Attributes
    ----------
    size : int
        Number of answers, refusals apart.
    grace : float
        Seconds for the others after that, or as long again as the quorum took, whichever is more; 0: none.
    asked_first : int or None
        Nodes to ask at first; None: all. The others are asked once one of these refuses or fails.
    hold : float
        Seconds after which the others are asked in any case, unless the quorum is there.
    """

    size: int
    grace: float = 0.0
    asked_first: int | None = None
    hold: float = 0.0


class MadeWhenAsked(Mapping[int, RecordDict]):
    """Contents by node, each made when it is first looked up: where not all nodes are asked, not all are needed.

    Parameters
    ----------
    nodes : mapping of node id to name
        The nodes, and the pods that answer there.
    make : callable
        Makes the content for a pod.
    """

    def __init__(self, nodes: Mapping[int, str], make: Callable[[str], RecordDict]) -> None:
        self._nodes, self._make = nodes, make
        self._made: dict[int, RecordDict] = {}

    def __getitem__(self, node: int) -> RecordDict:
        if node not in self._made:
            self._made[node] = self._make(self._nodes[node])
        return self._made[node]

    def __iter__(self) -> Iterator[int]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


class Exchange:
    """Sends messages and gathers replies, with its own deadline and polling.

    Flower's ``send_and_receive`` polls every three seconds, and reports an error made by the SuperLink under the
    SuperLink's own node id; here a reply is attributed by the message that it answers.

    Parameters
    ----------
    grid : Grid
        Flower's grid.
    poll : float
        Longest interval between two polls, in seconds. The first ones of a trip are closer, or a short trip would be
        over long before that is noticed.
    """

    def __init__(self, grid: Grid, poll: float = Timing.poll) -> None:
        self.grid = grid
        self.messages = 0
        self.registered: dict[int, str] = {}
        """The names under which the operator of an authenticating SuperLink has registered the nodes' keys."""
        self.poll = poll

    def nodes(self) -> set[int]:
        """Return the ids of the nodes that are connected now, and note in `registered` under which names."""
        connected = list(self.grid.get_nodes())
        self.registered |= {node.node_id: node.name for node in connected if node.name}
        return {node.node_id for node in connected}

    def ask(
        self,
        contents: Mapping[int, RecordDict],
        message_type: str,
        timeout: float,
        quorum: Quorum | None = None,
        on_wait: Callable[[Collection[int]], None] | None = None,
    ) -> Iterator[Reply]:
        """Send one message to each node and yield each one's reply as it comes; after ``timeout`` seconds, failures.

        Parameters
        ----------
        contents : mapping of node id to RecordDict
            What to send to whom; looked up when it is sent.
        message_type : str
            Flower message type, such as "train.masked".
        timeout : float
            Seconds until the nodes that have not answered are given up.
        quorum : Quorum or None
            When fewer answers suffice; None: all are waited for. Nothing is yielded for a node that was not asked.
        on_wait : callable
            Called at each poll with the nodes that have yet to answer.
        """
        started = time.monotonic()
        deadline, answers = started + timeout, 0
        cut = len(contents) if quorum is None or quorum.asked_first is None else quorum.asked_first
        first, later = list(contents)[:cut], list(contents)[cut:]
        waiting = self.send({node: contents[node] for node in first}, message_type, timeout)
        undelivered = set(first) - set(waiting.values())
        while waiting or undelivered:
            for node in undelivered:
                yield Reply(node, None, "the message could not be delivered")
            failed, undelivered = bool(undelivered), set[int]()
            polled, came = time.monotonic(), False
            for reply in self.receive(waiting):
                came = True
                good = reply.content is not None and reply.refusal() is None
                answers, failed = answers + good, failed or not good
                if good and quorum and answers == quorum.size:
                    now = time.monotonic()
                    deadline = min(deadline, now + max(quorum.grace, now - started if quorum.grace else 0.0))
                yield reply
                del reply  # else it would stay in memory while the next one comes
            elapsed = time.monotonic() - started
            if later and quorum and answers != quorum.size and (failed or elapsed >= quorum.hold):
                sent = self.send({node: contents[node] for node in later}, message_type, timeout)
                waiting, undelivered, later = waiting | sent, set(later) - set(sent.values()), []
                continue
            if waiting and time.monotonic() >= deadline:
                for node in waiting.values():
                    yield Reply(node, None, f"no answer within {time.monotonic() - started:.0f} seconds")
                return
            if waiting:
                if on_wait:
                    on_wait(waiting.values())
                if not came:
                    self.pause(polled, started)

    def pause(self, polled: float, started: float) -> None:
        """Wait for what is left of the interval after a poll, begun at ``polled``, of a trip begun at ``started``."""
        now = time.monotonic()
        interval = min(self.poll, max(_SHORTEST_INTERVAL, _ELAPSED_PART * (now - started)))
        time.sleep(max(0.0, polled + interval - now))

    def send(self, contents: Mapping[int, RecordDict], message_type: str, timeout: float) -> dict[str, int]:
        """Send one message to each node; returns message id to node id for those that were accepted."""
        messages = [
            Message(content, dst_node_id=node, message_type=message_type, ttl=timeout + TTL_MARGIN)
            for node, content in contents.items()
        ]
        self.messages += len(messages)
        if not messages:
            return {}
        ids = list(self.grid.push_messages(messages))
        gc.collect(1)  # the HTTP client's requests hold themselves, and with them the pieces of the model
        if len(ids) != len(messages):
            return {}
        return {sent: node for sent, node in zip(ids, contents, strict=True) if sent}

    def receive(self, waiting: dict[str, int]) -> Iterator[Reply]:
        """Yield the replies that have come for ``waiting``, taking them off it; see `incoming` on their memory."""
        for answered, content, error in incoming(self.grid, list(waiting)):
            node = waiting.pop(answered, None)
            if node is None:
                continue
            if content is None:
                meaning = _ERRORS.get(error, "its node could not answer")
                yield Reply(node, None, f"{meaning} (Flower's error {error})")
            else:
                yield Reply(node, content)
            del content


def payload_bytes(content: RecordDict) -> int:
    """Return the bytes of a message's arrays and byte strings: what grows with the model."""
    total = 0
    for record in content.values():
        if isinstance(record, ArrayRecord):
            total += sum(len(array.data) for array in record.values())
        else:
            total += sum(len(value) for value in record.values() if isinstance(value, bytes | str))
    return total
