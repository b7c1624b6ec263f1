"""The hostile server: it speaks the protocol itself, and in each message says what it likes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from fl_app.config import RunConfig
from fl_app.errors import FlAppError
from fl_app.flower import names, records
from fl_app.replica.state import Replica
from fl_app.replica.tabular import sizes_of
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.codec import PAYLOAD, Aggregate, decode
from fl_app.secagg.errors import ProtocolError
from fl_app.secagg.field import Words
from fl_app.secagg.messages import Hello, MaskedReply, Parameters, Proof, Step
from fl_app.tabular.combining import combine
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import scored_classes
from fl_app.tabular.schema import CombinedSchema, Schema
from fl_app.tabular.score_cells import first_ends
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.thin_classes import APART
from server.app.strategy import secure_strategy
from strategies import Hooks, StartingPoint
from tests.adversary.hostile.tables import Pods

Arrays = Mapping[str, NDArray[Any]]


@dataclass
class Outcome:
    """What comes of one step: the sum, if there is one, and who refused in which words."""

    total: Aggregate | None
    refusals: dict[str, records.Refusal]

    def values(self, kind: str, name: str) -> NDArray[Any]:
        """Return a segment of the sum; none if there is no sum."""
        return np.zeros(0) if self.total is None else self.total.values[names.segment(kind, name)]


@dataclass
class Run:
    """One run with the pods, from the hello on.

    Attributes
    ----------
    parameters : Parameters
        What the session is bound to: the attacker's to choose before `join`.
    published : dict of name to Published
        What the pods show, and what is passed on as such.
    refusals : dict of name to Refusal
        Who would not join, and why.
    replica : Replica
        What the attacker takes the pods to have followed.
    proof : pair or None
        What it shows as the last step's sum.
    sent_replica : bytes
        What it sends as the replica that a pod lacks.
    """

    pods: Pods
    config: RunConfig
    series: str = ""
    parameters: Parameters = field(init=False)
    published: dict[str, records.Published] = field(default_factory=dict)
    refusals: dict[str, records.Refusal] = field(default_factory=dict)
    replica: Replica = field(default_factory=Replica)
    proof: tuple[Proof, Words] | None = None
    sent_replica: bytes = b""

    def __post_init__(self) -> None:
        number = self.pods.new_run()
        self._strategy = secure_strategy(self.config, StartingPoint(self.series), Hooks())
        self.rule, self.settings, self.declared = self._strategy.rule, self._strategy.settings, self._strategy.declared
        rounds = 0 if self.config.describes else self.config.rounds
        self.parameters = self._strategy._parameters(str(number), "", rounds)

    def declare(self, **changes: Any) -> "Run":
        """Bind the session to other parameters."""
        self.parameters = replace(self.parameters, **changes)
        return self

    def join(self, pods: tuple[str, ...] = ()) -> "Run":
        """Go through hello and roster, with some of the pods only if so wished."""
        self.aggregator, self._delivered, self.refusals = Aggregator(self.parameters), set[str](), {}
        self._members = pods or self.parameters.pods
        hellos = list[Hello]()
        proposal = self.rule.proposal(self.settings)
        for name in self._members:
            request = records.HelloRequest(self.aggregator.session, self.parameters, True, proposal)
            content = records.put(RecordDict(), request)
            reply = self.ask(name, names.HELLO_MESSAGE, self._proved(content))
            if refused := refusal_in(reply):
                self.refusals[name] = refused
                continue
            hello = records.take(reply, Hello)
            hellos.append(hello)
            self.published[name] = records.take_published(reply, hello)
        if self.refusals:
            return self
        roster = self.aggregator.make_roster(hellos)
        for hello in hellos:
            reply = self.ask(
                hello.name, names.ROSTER_MESSAGE, records.put(RecordDict(), records.RosterRequest(roster.hellos))
            )
            if refused := refusal_in(reply):
                self.refusals[hello.name] = refused
            else:
                self.aggregator.take_shares(hello.name, records.take(reply, records.RosterReply).shares)
        return self

    @property
    def schema(self) -> CombinedSchema:
        """What an honest server would make of the pods' schemas, whether the pods would or not."""
        schemas = [Schema.from_json(shown.schema) for shown in self.published.values()]
        return combine(schemas)

    def schema_of(self, name: str) -> Schema:
        """Return what a pod publishes."""
        return Schema.from_json(self.published[name].schema)

    # -- steps that any server may ask --------------------------------------------------------------------------------

    def honest(self, kind: str, round: int = 1) -> Outcome:
        """Ask for a step as the product's own server does."""
        if not self.replica.place:
            try:
                self.replica = self.rule.begin(self.settings, self.published)
            except FlAppError:
                return Outcome(None, {})
        sizes = self.rule.sizes(self.settings, self.replica, kind)
        return self.step(kind, round, RecordDict(), sizes)

    # -- and those that it may not ------------------------------------------------------------------------------------

    def statistics(self, schema: Schema, datastructure: DataStructure, sizes: Mapping[str, int]) -> Outcome:
        """Ask for statistics by any schema."""
        said = {
            names.RUN: self.settings,
            names.SCHEMA: schema.to_json(),
            names.DATASTRUCTURE: datastructure.to_json(),
        }
        return self.step(names.STATISTICS, 1, RecordDict({names.CONFIG_RECORD: ConfigRecord(said)}), sizes)

    def train(self, round: int, encoding: Encoding, arrays: Arrays, **said: Any) -> Outcome:
        """Ask for a round of training of any model."""
        declared = self.declared.sized(_sizes(encoding))
        content = self.content(encoding, arrays, {names.SERVER_ROUND: round, **said})
        return self.step(names.TRAIN, round, content, declared.train_sizes(content.array_records[names.ARRAYS_RECORD]))

    def evaluate(self, encoding: Encoding, arrays: Arrays, turn: int = 1, **said: Any) -> Outcome:
        """Ask for the final evaluation of any model."""
        declared = self.declared.sized(_sizes(encoding))
        return self.step(names.EVALUATE, turn, self.content(encoding, arrays, said), declared.final_sizes())

    def content(self, encoding: Encoding, arrays: Arrays, said: Mapping[str, Any]) -> RecordDict:
        """Return what handlers were given before pods made it themselves: settings, encoding and model."""
        everybody = ",".join(self.parameters.pods)
        config = {
            names.RUN: self.settings,
            names.ENCODING: encoding.to_json(),
            names.LABELLED_ROWS: 10**6,
            names.CONTRIBUTORS: everybody,
            names.TEST_CONTRIBUTORS: everybody,
            **dict.fromkeys((names.WAYS, names.TEST_WAYS), ",".join([APART] * len(encoding.labels))),
            names.SCORE_EDGES: first_ends(scored_classes(len(encoding.labels))).astype("<f4").tobytes(),
            **said,
        }
        made = ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})
        return RecordDict({names.ARRAYS_RECORD: made, names.CONFIG_RECORD: ConfigRecord(config)})

    def step(self, kind: str, round: int, content: RecordDict, sizes: Mapping[str, int]) -> Outcome:
        """Ask all pods for one step and decode the sum, if all of them answer; follow it as far as one can."""
        verified = self.parameters.verified
        segments = {names.segment(kind, name): size for name, size in sizes.items()} | dict(sizes)
        classes = tuple(c.name for c in self.parameters.step(kind).classes)
        step = Step(self.aggregator.session, kind, round, classes, tuple(segments.get(name, 1) for name in classes))
        common = records.put(RecordDict(dict(content)), step)
        if verified and not self.replica.place:
            records.put_cohort(common, self.published)
        followed = self.replica.digest if verified else b""
        collection = self.aggregator.collect(step, records.request_digest(common), followed)
        refusals, vectors = {}, {}
        for name in self._members:
            addressed = self._proved(common)
            if self.sent_replica:
                addressed = records.put_replica(addressed, self.sent_replica)
            if name not in self._delivered:
                addressed = records.put_shares(addressed, self.aggregator.shares_for(name))
            reply = self.ask(name, names.MASKED_MESSAGES[kind], addressed)
            self._delivered.add(name)
            if refused := refusal_in(reply):
                refusals[name] = refused
            else:
                vectors[name] = records.take_vector(reply), records.take(reply, MaskedReply)
        if refusals:
            return Outcome(None, refusals)
        try:  # pods that believe otherwise than the attacker sign for another label
            for name, vector in vectors.items():
                collection.add(name, *vector)
            total = collection.result()
        except ProtocolError:
            return Outcome(None, refusals)
        if verified:
            self.layout, self.asked, self._last = collection.layout, self.replica, (kind, round)
            self.proof = collection.proof()
            self.replica = self.rule.after(self.settings, self.replica, kind, round, total)
        return Outcome(total, refusals)

    def forge(self, values: NDArray[np.float64], name: str = names.UPDATE) -> None:
        """Show another mean update, or another segment, as that of the last round, all else as it was; follow that."""
        if self.proof is None:
            return
        (proof, words), layout, prime = self.proof, self.layout, self.layout.field.prime
        forged, start = np.array(words), 0
        for segment in layout.segments:
            if segment.name == name:
                weights = int(words[_place(0)]) if name == names.UPDATE else 1  # the weights' sum comes first
                whole = np.rint(values * layout.scales[segment.name] * weights).astype(np.int64)
                forged[_place(np.arange(start, start + segment.size))] = np.where(whole < 0, whole + prime, whole)
            start += segment.size
        self.proof = proof, forged
        total = forged.astype(np.int64)
        sums = decode(layout, np.where(total > prime // 2, total - prime, total))
        self.replica = self.rule.after(self.settings, self.asked, *self._last, sums)

    def _proved(self, content: RecordDict) -> RecordDict:
        return records.put_proof(content, *self.proof) if self.proof else content

    def ask(self, name: str, message_type: str, content: RecordDict) -> RecordDict:
        """Send one message to one pod and return what it answers."""
        message = Message(content, dst_node_id=self.pods.nodes[name], message_type=message_type)
        (reply,) = self.pods.grid.send_and_receive([message])
        return reply.content


def refusal_in(reply: RecordDict) -> records.Refusal | None:
    """Return the refusal in a reply, if it is one."""
    record = reply.get(names.SECAGG_RECORD)
    if isinstance(record, ConfigRecord) and "Refusal" in record:
        return records.take(reply, records.Refusal)
    return None


def _place(element: Any) -> Any:
    """Return where in a vector an element of the payload lies, behind the roll calls before it."""
    return element + element // PAYLOAD + 1


def _sizes(encoding: Encoding) -> dict[str, int]:
    sizes = sizes_of(encoding)
    return sizes | {names.TEST_PREFIX + name: size for name, size in sizes.items()}
