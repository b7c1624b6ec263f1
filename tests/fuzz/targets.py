"""Everything that parses a message: the pod's handlers, the server's, and the records themselves.

A target takes a damaged message and returns; it may refuse with a `ProtocolError`, and raise nothing else.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from hypothesis import strategies as st

from fl_app.flower import records
from fl_app.flower.names import (
    HELLO_MESSAGE,
    MASKED_EVALUATE,
    MASKED_TRAIN,
    ROSTER_MESSAGE,
    SECAGG_RECORD,
    SURVIVORS_MESSAGE,
    UNMASK_MESSAGE,
)
from fl_app.secagg import messages
from fl_app.secagg.aggregator import Collection
from fl_app.secagg.binding import reply_statement
from fl_app.secagg.canonical import decode
from fl_app.secagg.crypto import HELLO, UNMASK, Signer, statement
from fl_app.secagg.errors import AlreadyAnswered, ProtocolError
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import Hello, MaskedReply, Record, SealedShare, UnmaskReply, Witness
from strategies.hello import HelloReplies
from strategies.polling import Reply
from strategies.sums import PlainSum
from tests.adversary.server import Server
from tests.fuzz.damage import TREES, damaged_bytes, damaged_content, damaged_message
from tests.support.pods_in_process import NAMES, SIZE, identity

ME, PEER = NAMES[:2]
Damaged = st.SearchStrategy[Any]


@dataclass(frozen=True)
class Target:
    """Something that parses: ``inputs`` makes damaged messages, ``take`` parses one."""

    name: str
    inputs: Damaged
    take: Callable[[Any], None]


class MemoryLedger:
    """A ledger that forgets everything after each input, and needs no disk."""

    def __init__(self) -> None:
        self.survivors: dict[object, object] = {}

    def enter_session(self, account: Account, session: bytes, head: bytes, at_most: int = 1, size: int = 0) -> bytes:
        return b"head"

    def last_round(self, series: str) -> int:
        return 0

    def enter_begin(self, account: Account, kind: str, round: int, label: bytes, head: bytes) -> bytes:
        return b"head"

    def enter_answer(self, account: Account, kind: str, round: int, label: bytes, head: bytes, size: int = 0) -> bytes:
        return b"head"

    def enter_survivors(self, account: Account, event: str, label: bytes, head: bytes, size: int = 0) -> bytes:
        if self.survivors.setdefault(label, account.cohort) != account.cohort:
            raise AlreadyAnswered("other survivors")
        return b"head"

    def enter(self, account: Account, event: str, kind: str, **entry: Any) -> bytes:
        return b"head"

    def enter_refusal(self, account: Account, kind: str, round: int, why: str, size: int = 0) -> None:
        why.encode()


class Bench:
    """An honest session of four pods, stopped at every message: what to damage, and the state to damage it in."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as directory:  # nothing is written to it: the ledgers are in memory
            self.server = server = Server(Path(directory), 4)
        for name in server.names:
            server.pods.change_owner(name, ledger=MemoryLedger())
        self.grid, self.node = server.pods.grid, server.pods.nodes[ME]
        self.requests: dict[str, RecordDict] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.handler_failed = False
        self._tolerant()
        self.grid.on_request = self._keep
        server.join()
        self.collection = server.collect()
        server.pods.ask(ME, SURVIVORS_MESSAGE, records.put(RecordDict(), self.collection.survivors_request()))
        server.open(self.collection)
        server.evaluate(ME)
        self.grid.on_request = lambda message: message
        self.replies = {
            reply.metadata.message_type: reply.content
            for reply in self.grid.replies
            if reply.metadata.src_node_id == self.node
        }

    def _keep(self, message: Message) -> Message:
        if message.metadata.dst_node_id == self.node:
            kind = message.metadata.message_type
            self.requests[kind] = RecordDict(dict(message.content))
            self.states[kind] = dict(self.grid.contexts[self.node].state)
        return message

    def _tolerant(self) -> None:
        """Let the handlers answer whatever came in: their own errors are another matter."""
        from client.app.masked_app import MaskedApp

        def owner(context: Context) -> Any:
            return self.server.pods.of(context).owner

        from flwr.clientapp import ClientApp

        app = ClientApp()
        masked = MaskedApp(app, owner)

        def train(message: Message, context: Context) -> Message:
            arrays = {
                name: ArrayRecord({key: Array(np.zeros(SIZE)) for key in record})
                for name, record in message.content.array_records.items()
            }
            metrics = MetricRecord({"num-examples": 3, "loss": 0.5})
            return Message(RecordDict({**arrays, "metrics": metrics}), reply_to=message)

        def evaluate(message: Message, context: Context) -> Message:
            return Message(RecordDict({"metrics": MetricRecord({"num-examples": 3, "hits": 1})}), reply_to=message)

        masked.train()(train)
        masked.evaluate()(evaluate)
        self.grid.app = app

    # -- the pod --------------------------------------------------------------------------------------------------

    def pod(self, message_type: str) -> Target:
        """Return one of the pod's handlers, fed with the server's requests, damaged."""
        context = self.grid.contexts[self.node]
        ledger = MemoryLedger()
        owner = self.server.pods.pods[ME].owner

        def take(content: RecordDict) -> None:
            context.state.clear()
            context.state.update(self.states[message_type])
            ledger.survivors.clear()
            self.server.pods.pods[ME].owner = replace(owner, ledger=ledger)  # type: ignore[arg-type]
            reply = self.grid.app(Message(content, dst_node_id=self.node, message_type=message_type), context)
            record = reply.content[SECAGG_RECORD]
            if "Refusal" in record:
                refused = records.take(reply.content, records.Refusal)
                if refused.code == "pod-error":
                    raise AssertionError(f"the pod does not know what to say to {content!r:.600}")

        honest = self.requests[message_type]
        return Target(f"pod {message_type}", self._signed_anew(damaged_content(honest)), take)

    # -- the server -----------------------------------------------------------------------------------------------

    def server_targets(self) -> list[Target]:
        """Return what the server parses, fed with a pod's replies, damaged and then signed by the pod."""
        aggregator, collection = self.server.aggregator, self.collection

        def hello(content: RecordDict) -> None:
            HelloReplies(aggregator, {}, aggregator.parameters.pods).take(Reply(self.node, content))

        def roster(content: RecordDict) -> None:
            aggregator.take_shares(ME, records.take(content, records.RosterReply).shares)

        def vector(content: RecordDict) -> None:
            fresh = Collection(aggregator, self.server.step(), self.server.digest())
            fresh.add(ME, records.take_vector(content), records.take(content, MaskedReply))

        def witness(content: RecordDict) -> None:
            collection.take_witness(ME, records.take(content, Witness))

        def opened(content: RecordDict) -> None:
            collection.take_reveal(ME, records.take(content, UnmaskReply))

        def plain(content: RecordDict) -> None:
            classes = self.server.parameters.steps[0].classes
            PlainSum(classes, (SIZE, 1, 1)).add(ME, content)

        values = {
            "update": np.zeros(SIZE),
            "train.loss": np.zeros(1),
            "evaluate.hits": np.zeros(1),
            "weight": np.ones(1),
        }
        replies = {
            "hello": (hello, self.replies[HELLO_MESSAGE]),
            "roster": (roster, self.replies[ROSTER_MESSAGE]),
            "vector": (vector, self.replies[MASKED_TRAIN]),
            "witness": (witness, self.replies[SURVIVORS_MESSAGE]),
            "unmask": (opened, self.replies[UNMASK_MESSAGE]),
            "plain values": (plain, records.put_values(RecordDict(), values)),
        }
        return [
            Target(f"server {name}", self._signed_anew(damaged_content(honest)), _typed(take))
            for name, (take, honest) in replies.items()
        ]

    # -- signatures -------------------------------------------------------------------------------------------------

    def _signed_anew(self, contents: Damaged) -> Damaged:
        """Have a lying pod sign half of the damaged messages, so that they are looked at more closely."""
        return st.tuples(contents, st.booleans()).map(lambda pair: self._sign(pair[0]) if pair[1] else pair[0])

    def _sign(self, content: RecordDict) -> RecordDict:
        try:
            record = records.take(
                content, Hello, records.RosterRequest, MaskedReply, UnmaskReply, messages.UnmaskRequest
            )
            return records.put(RecordDict(dict(content)), self._signed(record, content))
        except (ProtocolError, ValueError):  # nothing that can be signed
            return content

    def _signed(self, record: Record, content: RecordDict) -> Record:
        signer: Signer = identity(ME)
        label = self.collection.label
        match record:
            case Hello():
                message = statement(HELLO, record.session, record.name, "", record.unsigned())
                return replace(record, signature=identity(record.name).sign(message))
            case records.RosterRequest():
                own = [hello for hello in record.hellos if hello.name == ME]
                others = [self._signed(hello, content) for hello in record.hellos if hello.name != ME]
                return replace(record, hellos=tuple(sorted([*own, *others], key=lambda h: h.identity_key)))  # type: ignore[attr-defined,type-var]
            case MaskedReply():
                vector = records.take_vector(content)
                message = reply_statement(label, ME, vector, record)
                return replace(record, signature=signer.sign(message))
            case UnmaskReply():
                return replace(record, signature=signer.sign(statement(UNMASK, label, ME, "", record.content())))
        return record


def _typed(take: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return ``take``, from which typed errors may come."""

    def typed(content: Any) -> None:
        try:
            take(content)
        except ProtocolError:
            return

    return typed


def _records(bench: Bench) -> list[Target]:
    """Return the parsers of all records, fed with damaged messages of their own type."""
    seen: dict[type[Record], bytes] = {}
    for content in (*bench.requests.values(), *bench.replies.values()):
        for name, data in content.config_records.get(SECAGG_RECORD, {}).items():
            kind = getattr(messages, name, None) or getattr(records, name)
            seen[kind] = data  # type: ignore[assignment]
    seen[SealedShare] = bench.server.aggregator.shares_for(ME)[0].to_bytes()
    seen[messages.Parameters] = bench.server.parameters.to_bytes()
    seen[records.Published] = records.Published("{}", (PEER,)).to_bytes()
    seen[records.Refusal] = records.Refusal(ME, "policy", "no", (PEER,)).to_bytes()
    seen[records.Bystander] = records.Bystander(ME).to_bytes()
    return [
        Target(f"record {kind.__name__}", damaged_message(data), _typed(kind.from_bytes)) for kind, data in seen.items()
    ]


def _decoder(bench: Bench) -> Target:
    """Return the decoder of canonical bytes: what it takes is what the encoder writes."""
    from fl_app.secagg.canonical import encode

    honest = bench.server.parameters.to_bytes()

    def take(data: bytes) -> None:
        value = decode(data)
        if encode(value) != data:
            raise AssertionError(f"{data!r} is decoded, and encoded otherwise")

    return Target("canonical bytes", damaged_bytes(honest) | st.binary(max_size=80) | TREES.map(_plain), _typed(take))


def _plain(value: Any) -> bytes:
    from fl_app.secagg.canonical import encode

    try:
        return encode(value)
    except ProtocolError:
        return b""


def all_targets() -> Mapping[str, Target]:
    """Return every target by name."""
    bench = Bench()
    kinds = [HELLO_MESSAGE, ROSTER_MESSAGE, MASKED_TRAIN, SURVIVORS_MESSAGE, UNMASK_MESSAGE, MASKED_EVALUATE]
    targets = [bench.pod(kind) for kind in kinds] + bench.server_targets() + _records(bench) + [_decoder(bench)]
    return {target.name: target for target in targets}
