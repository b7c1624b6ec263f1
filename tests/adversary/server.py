"""A server that follows the protocol message by message, so that a test can lie in any one of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict

from client.app.policy_checks import ImpliedParameters, RequestedTraining, RunCost
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
from fl_app.secagg.aggregator import Aggregator, Collection
from fl_app.secagg.crypto import Signer, statement
from fl_app.secagg.messages import (
    ElementClass,
    Hello,
    MaskedReply,
    Parameters,
    SealedShare,
    Step,
    StepPlan,
    SurvivorsRequest,
    UnmaskReply,
    UnmaskRequest,
    Witness,
)
from fl_app.secagg.pod_session import PodSession
from tests.support.in_process import RUN_ID
from tests.support.pods_in_process import NAMES, SIZE, Pods, identity

PLANS = (
    StepPlan(
        "train",
        5,
        (
            ElementClass("update", "update", 8.0),
            ElementClass("train.loss", "mean", 64.0),
            ElementClass("evaluate.hits", "count", 100.0),
        ),
    ),
    StepPlan("evaluate", 1, (ElementClass("evaluate.hits", "count", 100.0),)),
)


class Server:
    """One session with real pods; every message can be made otherwise, or sent to some of them only.

    Parameters
    ----------
    directory : Path
        Where the pods keep their ledgers.
    count : int
        Number of pods: up to three the cohort must be complete, from four on it may lose some.
    reads : callable, optional
        What the pods' app reads of a run's settings.
    implies : callable, optional
        The parameters that these imply.
    cost : callable, optional
        What a run under these costs.
    """

    def __init__(
        self,
        directory: Path,
        count: int,
        reads: RequestedTraining | None = None,
        implies: ImpliedParameters | None = None,
        cost: RunCost | None = None,
    ) -> None:
        self.pods = Pods(directory, NAMES[:count], reads=reads, implies=implies, cost=cost)
        self.names = tuple(self.pods.names)
        self.parameters = Parameters(
            str(RUN_ID), str(RUN_ID), "", b"", 2**61 - 1, self.names, 0, 1 << 20, "examples", PLANS, False
        )
        self.aggregator = Aggregator(self.parameters)
        self.hellos: dict[str, Hello] = {}

    def new_session(self, **changes: Any) -> None:
        """Begin another session, with other parameters if so wished."""
        self.parameters = replace(self.parameters, **changes)
        self.aggregator = Aggregator(self.parameters)
        self.hellos = {}

    def new_run(self, run: int, **changes: Any) -> None:
        """Begin another run, of which the pods remember nothing; of the same series if nothing else is said."""
        contexts = self.pods.grid.contexts
        for node, context in contexts.items():
            contexts[node] = Context(run, node, context.node_config, RecordDict(), {})
        self.new_session(run=str(run), **changes)

    # -- hello and roster -----------------------------------------------------------------------------------------

    def hello(self, name: str, parameters: Parameters | None = None, *, secure: bool = True) -> RecordDict:
        request = records.HelloRequest(self.aggregator.session, parameters or self.parameters, secure)
        return self.pods.ask(name, HELLO_MESSAGE, records.put(RecordDict(), request))

    def gather_hellos(self, names: Sequence[str] | None = None) -> list[Hello]:
        for name in names or self.names:
            self.hellos[name] = records.take(self.hello(name), Hello)
        return list(self.hellos.values())

    def roster(self, name: str, hellos: Sequence[Hello]) -> RecordDict:
        return self.pods.ask(name, ROSTER_MESSAGE, records.put(RecordDict(), records.RosterRequest(tuple(hellos))))

    def join(self, names: Sequence[str] | None = None) -> None:
        """Go through hello and roster honestly."""
        roster = self.aggregator.make_roster(self.gather_hellos(names))
        for name in self.hellos:
            reply = records.take(self.roster(name, roster.hellos), records.RosterReply)
            self.aggregator.take_shares(name, reply.shares)

    # -- a masked step --------------------------------------------------------------------------------------------

    def step(self, round: int = 1, size: int = SIZE) -> Step:
        names = tuple(c.name for c in PLANS[0].classes)
        return Step(self.aggregator.session, "train", round, names, (size, 1, 1))

    def request(
        self,
        round: int = 1,
        size: int = SIZE,
        rate: float = 0.5,
        model: float = 0.0,
        columns: Sequence[str] = ("age", "hours"),
    ) -> RecordDict:
        """Return the common part of a training request."""
        content = RecordDict(
            {
                "arrays": ArrayRecord({"w": Array(np.full(size, model))}),
                "config": ConfigRecord({"server-round": round, "lr": rate, "columns": list(columns)}),
            }
        )
        return records.put(content, self.step(round, size))

    def digest(self) -> bytes:
        """Return what the pods' labels say of the usual request."""
        return records.request_digest(self.request())

    def train(
        self,
        name: str,
        request: RecordDict | None = None,
        shares: Sequence[SealedShare] | None = None,
        message_type: str = MASKED_TRAIN,
    ) -> RecordDict:
        """Ask for a vector; ``shares`` None: those that the others sealed to this pod."""
        content = self.request() if request is None else request
        sealed = self.aggregator.shares_for(name) if shares is None else shares
        return self.pods.ask(name, message_type, records.put_shares(content, sealed) if sealed else content)

    def evaluate(self, name: str, round: int = 1) -> RecordDict:
        """Ask for the final evaluation, with the sealed shares if no other step was declared."""
        content = self._evaluation(round)
        if len(self.parameters.steps) == 1:
            content = records.put_shares(content, self.aggregator.shares_for(name))
        return self.pods.ask(name, MASKED_EVALUATE, content)

    def evaluation(self, round: int = 1) -> Step:
        return Step(self.aggregator.session, "evaluate", round, ("evaluate.hits",), (1,))

    def evaluation_digest(self) -> bytes:
        return records.request_digest(self._evaluation(1))

    def _evaluation(self, round: int) -> RecordDict:
        return records.put(RecordDict({"arrays": ArrayRecord({"w": Array(np.zeros(SIZE))})}), self.evaluation(round))

    def collect(
        self, names: Sequence[str] | None = None, round: int = 1, *, shares: bool = True, **request: Any
    ) -> Collection:
        """Ask pods for their vectors of a round and return the collection."""
        common = self.request(round, **request)
        step = self.step(round, request.get("size", SIZE))
        collection = self.aggregator.collect(step, records.request_digest(common))
        for name in names or self.hellos:
            reply = self.train(name, common, None if shares else ())
            collection.add(name, *vector_in(reply))
        return collection

    # -- unmasking ------------------------------------------------------------------------------------------------

    def witness(self, name: str, request: SurvivorsRequest) -> RecordDict:
        return self.pods.ask(name, SURVIVORS_MESSAGE, records.put(RecordDict(), request))

    def gather_witnesses(self, collection: Collection) -> None:
        for name in collection.survivors:
            signed = records.take(self.witness(name, collection.survivors_request()), Witness)
            collection.take_witness(name, signed)

    def unmask(self, name: str, request: UnmaskRequest) -> RecordDict:
        return self.pods.ask(name, UNMASK_MESSAGE, records.put(RecordDict(), request))

    def open(self, collection: Collection) -> None:
        """Unmask honestly."""
        if collection.lost:
            self.gather_witnesses(collection)
        for name in collection.survivors:
            opened = records.take(self.unmask(name, collection.unmask_request(name)), UnmaskReply)
            collection.take_reveal(name, opened)


def state_of(server: Server, name: str) -> PodSession:
    """Return what a pod remembers of its session."""
    context: Context = server.pods.grid.contexts[server.pods.nodes[name]]
    (record,) = context.state.config_records.values()
    (data,) = record.values()
    assert isinstance(data, bytes)
    return PodSession.from_bytes(data)


def vector_in(reply: RecordDict) -> tuple[npt.NDArray[Any], MaskedReply]:
    """Return the masked vector of a reply and what came with it."""
    return records.take_vector(reply).copy(), records.take(reply, MaskedReply)  # a copy that a test may spoil


def refusal_of(reply: RecordDict) -> records.Refusal:
    """Return the refusal in a reply; fails if the pod did as it was asked."""
    assert set(reply) == {SECAGG_RECORD}, f"the pod sent more than a refusal: {sorted(reply)}"
    record = reply[SECAGG_RECORD]
    assert set(record) == {"Refusal"}, f"the pod answered with {sorted(record)}"
    return records.take(reply, records.Refusal)


def assert_refused(reply: RecordDict, code: str, *words: str) -> None:
    """Fail unless the pod refused, by the check named ``code``, in a text that holds ``words``."""
    refused = refusal_of(reply)
    assert refused.code == code, f"refused as {refused.code}: {refused.text}"
    for word in words:
        assert word in refused.text, refused.text


def signed(hello: Hello, signer: Signer | None = None, **changes: Any) -> Hello:
    """Return a hello with changes and a good signature by ``signer`` (None: by the pod it names)."""
    from fl_app.secagg.crypto import HELLO

    signer = signer or identity(hello.name)
    changed = replace(hello, **changes)
    said = statement(HELLO, changed.session, changed.name, "", changed.unsigned())
    return replace(changed, signature=signer.sign(said))
