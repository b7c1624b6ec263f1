"""A Flower Grid that calls the real ClientApp in this process; a test may read, change or drop each message."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 7
Tamper = Callable[[Message], Message | None]


def unchanged(message: Message) -> Message:
    return message


@dataclass
class InProcessGrid(Grid):
    """Delivers at once. ``on_request`` and ``on_reply`` may change a message, or drop it by returning None.

    Attributes
    ----------
    requests, replies : lists of Message
        Everything that reached a pod, and everything that reached the server.
    """

    app: ClientApp
    nodes: Mapping[int, Mapping[str, str | int]]
    run_id: int = RUN_ID
    on_request: Tamper = unchanged
    on_reply: Tamper = unchanged
    requests: list[Message] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        TaskIdentity.task_id = TaskIdentity.node_id = 1
        TaskIdentity.run_id = self.run_id
        self.contexts = {
            node: Context(self.run_id, node, dict(config), RecordDict(), {}) for node, config in self.nodes.items()
        }
        self._sent = 0
        self._ready: dict[str, Message] = {}

    @property
    def run(self) -> Run:
        return Run.create_empty(self.run_id)

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(copy.deepcopy(message)) for message in messages]

    def _push(self, message: Message) -> str:
        self._sent += 1
        identifier = f"message-{self._sent}"
        message.metadata.__dict__["_message_id"] = identifier
        delivered = self.on_request(message)
        if delivered is None:
            return identifier
        self.requests.append(copy.deepcopy(delivered))
        context = self.contexts[delivered.metadata.dst_node_id]
        try:
            answer = self.app(delivered, context)
        except Exception as error:  # as a SuperNode does
            answer = Message(Error(code=2, reason=str(error)), reply_to=delivered)
        reply = self.on_reply(copy.deepcopy(answer))
        if reply is not None:
            self.replies.append(copy.deepcopy(reply))
            self._ready[identifier] = reply
        return identifier

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._ready.pop(i) for i in list(message_ids) if i in self._ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


def refusals(grid: InProcessGrid) -> list[str]:
    """Return the texts of all refusals that reached the server."""
    from fl_app.flower import records
    from fl_app.flower.names import SECAGG_RECORD

    texts = []
    for reply in grid.replies:
        record = reply.content.get(SECAGG_RECORD) if reply.has_content() else None
        if isinstance(record, ConfigRecord) and "Refusal" in record:
            texts.append(records.take(reply.content, records.Refusal).text)
    return texts
