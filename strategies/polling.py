"""One step of a protocol over Flower's Grid: a message to each pod, replies as they come, a deadline."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fl_app.flower import records
from fl_app.secagg.errors import MalformedMessage

TTL_MARGIN = 30.0
_EAGERNESS, _AT_LEAST = 0.05, 0.005
"""Looks are apart by this part of the time that the step has taken so far, and by these seconds at least."""
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
"""What Flower's error codes mean. The text that comes with them is of the node's making and is shown to nobody."""


@dataclass(frozen=True)
class Reply:
    """What came back from one node: the content, or why there is none."""

    node: int
    content: RecordDict | None
    failure: str = ""

    def refusal(self) -> records.Refusal | None:
        """Return the refusal in this reply, if it is one."""
        if self.content is None:
            return None
        try:
            return records.take(self.content, records.Refusal)
        except MalformedMessage:
            return None


class Exchange:
    """Sends messages and gathers replies, with its own deadline and polling.

    Flower's ``send_and_receive`` sleeps three seconds between looks, and reports an error made by the SuperLink under
    the SuperLink's own node id; replies are attributed here by the message they answer.

    Parameters
    ----------
    grid : Grid
        Flower's grid.
    poll : float
        Most seconds between two looks for replies; after a step has begun they are closer, or a short one would be
        over long before it is noticed.
    """

    def __init__(self, grid: Grid, poll: float = 0.1) -> None:
        self.grid = grid
        self.messages = 0
        self.registered: dict[int, str] = {}
        """Under which name the operator of an authenticating SuperLink has registered a node's key; else empty."""
        self._poll = poll

    def nodes(self) -> set[int]:
        """Return the ids of the nodes that are connected now, and note in `registered` under which names."""
        found = list(self.grid.get_nodes())
        self.registered |= {node.node_id: node.name for node in found if node.name}
        return {node.node_id for node in found}

    def ask(
        self,
        contents: Mapping[int, RecordDict],
        message_type: str,
        timeout: float,
        quorum: int | None = None,
        grace: float = 0.0,
        watch: Callable[[Collection[int]], None] | None = None,
        at_first: int | None = None,
        held: float = 0.0,
    ) -> Iterator[Reply]:
        """Send one message to each node and yield each one's reply as it comes; after ``timeout`` seconds, failures.

        Parameters
        ----------
        contents : mapping of node id to RecordDict
            What to send to whom.
        message_type : str
            Flower message type, such as "train.masked".
        timeout : float
            Seconds until the nodes that have not answered are given up.
        quorum : int or None
            Number of answers, refusals apart, after which the others have ``grace`` more seconds, or as long again
            as the quorum took, whichever is more.
        watch : callable
            Called at each look with the nodes that have yet to answer.
        at_first : int or None
            How many nodes are asked. The others are only once one of these gives no answer or a refusal, or when
            ``held`` seconds have not brought a quorum; nothing is yielded for a node that was not asked.
        """
        started = time.monotonic()
        deadline, answers = started + timeout, 0
        cut = len(contents) if at_first is None else at_first
        first, later = (dict(part) for part in (list(contents.items())[:cut], list(contents.items())[cut:]))
        waiting = self.send(first, message_type, timeout)
        silent = first.keys() - set(waiting.values())
        while waiting or silent:
            for node in silent:
                yield Reply(node, None, "the message could not be delivered")
            failed, silent = bool(silent), set[int]()
            for reply in self.receive(waiting):
                good = reply.content is not None and reply.refusal() is None
                answers, failed = answers + good, failed or not good
                if good and answers == quorum:
                    now = time.monotonic()
                    deadline = min(deadline, now + max(grace, now - started if grace else 0.0))
                yield reply
            if later and answers != quorum and (failed or time.monotonic() - started >= held):
                sent = self.send(later, message_type, timeout)
                waiting, silent, later = waiting | sent, later.keys() - set(sent.values()), {}
                continue
            if waiting and time.monotonic() >= deadline:
                for node in waiting.values():
                    yield Reply(node, None, f"no answer within {time.monotonic() - started:.0f} seconds")
                return
            if waiting:
                if watch:
                    watch(waiting.values())
                time.sleep(min(self._poll, max(_AT_LEAST, _EAGERNESS * (time.monotonic() - started))))

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
        if len(ids) != len(messages):
            return {}
        return {sent: node for sent, node in zip(ids, contents, strict=True) if sent}

    def receive(self, waiting: dict[str, int]) -> Iterator[Reply]:
        """Yield the replies that have come for ``waiting``, taking them off it."""
        for message in self.grid.pull_messages(list(waiting)):
            node = waiting.pop(message.metadata.reply_to_message_id, None)
            if node is None:
                continue
            if message.has_error():
                said = _ERRORS.get(message.error.code, "its node could not answer")
                yield Reply(node, None, f"{said} (Flower's error {message.error.code})")
            else:
                yield Reply(node, message.content)
