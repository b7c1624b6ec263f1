"""One masked step as the server runs it: the same request to every pod, vectors summed as they come, one aggregate."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt
from flwr.app import ArrayRecord, RecordDict

from fl_app.errors import RunFailed
from fl_app.flower import records
from fl_app.flower.names import MASKED_MESSAGES, PLAIN_MESSAGES, SURVIVORS_MESSAGE, UNMASK_MESSAGE, WEIGHT
from fl_app.secagg.aggregator import Aggregator, Collection
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.errors import AggregateRefused, AlreadyAnswered, ProtocolError
from fl_app.secagg.messages import ElementClass, MaskedReply, Step, UnmaskReply, Witness
from strategies.cohort import Cohort, Watch, names_of
from strategies.polling import Exchange


@dataclass(frozen=True)
class Loss:
    """At which point a pod was lost ("train", "consistency", "unmask"...), and what is known of why.

    ``code`` names the check that failed where the pod itself refused; see `fl_app.secagg.errors`.
    """

    step: str
    why: str
    code: str = ""


class StepFailed(RunFailed):
    """A step could not be completed; ``lost`` says of each pod in the way why. The model stays as it was."""

    def __init__(self, kind: str, round: int, lost: Mapping[str, Loss], why: str = "") -> None:
        self.lost = dict(lost)
        reasons = [*(loss.why for loss in lost.values()), *([why] if why else [])]
        super().__init__(f"the '{kind}' step of round {round} failed: {'; '.join(reasons)}")

    @property
    def spent(self) -> bool:
        """Whether it failed only because pods had answered this round before, in a run that this one resumes."""
        return bool(self.lost) and all(loss.code == AlreadyAnswered.code for loss in self.lost.values())


@dataclass(frozen=True)
class StepResult:
    """A completed step: the aggregate over ``pods``, and of each pod that was lost, at which point and why."""

    aggregate: Aggregate
    pods: tuple[str, ...]
    lost: dict[str, Loss]


@dataclass
class Traffic:
    """What one kind of step has cost so far: messages and payload bytes in both directions, and seconds."""

    messages: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    seconds: list[float] = field(default_factory=list)


class Steps:
    """Runs the steps of one session.

    Parameters
    ----------
    exchange : Exchange
        Where messages go.
    aggregator : Aggregator
        The session.
    cohort : Cohort
        The pods and their nodes.
    secure : bool
        Whether vectors are masked; if not, pods send their values in the clear (their owners' policy permitting).
    traffic : dict
        Where the cost of each kind of step is added up.
    grace : float
        Seconds that the last pods have once enough others have answered.
    unmask_timeout : float
        Seconds for the answers of the two small trips, in which no model is loaded.
    watch : callable
        Told of which trip the server waits for which pods.
    """

    def __init__(
        self,
        exchange: Exchange,
        aggregator: Aggregator,
        cohort: Cohort,
        *,
        secure: bool,
        traffic: dict[str, Traffic],
        grace: float,
        unmask_timeout: float,
        watch: Watch | None = None,
    ) -> None:
        self._exchange, self._aggregator, self._cohort = exchange, aggregator, cohort
        self._secure, self._grace, self._unmask_timeout = secure, grace, unmask_timeout
        self._names = {node: name for name, node in cohort.nodes.items()}
        self._watch = watch
        self._delivered: set[str] = set()
        self._traffic = traffic

    def run(self, kind: str, round: int, content: RecordDict, sizes: Mapping[str, int], timeout: float) -> StepResult:
        """Send ``content`` to every pod as one step and return the decoded sum.

        Parameters
        ----------
        kind : str
            "statistics", "train" or "evaluate".
        round : int
            1 to the declared number.
        sizes : mapping
            Elements of each declared class; 1 where it is not named.
        timeout : float
            Seconds for the pods' answers.

        Raises
        ------
        StepFailed
            If more pods refuse, fail, are late or send what is not their vector than the threshold allows, or the
            sum fails its checks.
        """
        classes = self._aggregator.parameters.step(kind).classes
        names = tuple(c.name for c in classes)
        step = Step(self._aggregator.session, kind, round, names, tuple(sizes.get(name, 1) for name in names))
        request = records.put(RecordDict(dict(content)), step)
        receiver: Receiver = _Masked(self._aggregator, step, request) if self._secure else _Plain(classes, step.sizes)
        contents = {node: self._addressed(request, name) for node, name in self._names.items()}
        message_type = MASKED_MESSAGES[kind] if self._secure else PLAIN_MESSAGES[kind]
        quorum = self._aggregator.threshold if self._secure else None
        lost = self._ask(kind, contents, message_type, receiver.add, timeout, quorum)
        self._delivered |= set(self._cohort.nodes) - set(lost)
        if lost and not receiver.survives(lost):
            raise StepFailed(kind, round, lost)
        try:
            if isinstance(receiver, _Masked) and receiver.collection.unmasks:
                last = self._aggregator.parameters.is_last(kind, round)
                lost |= self._unmask(receiver.collection, lost, min(timeout, self._unmask_timeout), everyone=last)
            aggregate = receiver.result()
        except ProtocolError as error:
            raise StepFailed(kind, round, lost, str(error)) from error
        return StepResult(aggregate, tuple(name for name in self._cohort.nodes if name not in lost), lost)

    def _unmask(
        self, collection: Collection, lost: Mapping[str, Loss], timeout: float, *, everyone: bool
    ) -> dict[str, Loss]:
        """Have survivors open what the sum needs, after a loss with a signed list of them; returns who is lost."""
        nodes = {node: name for node, name in self._names.items() if name in collection.survivors}
        if lost:
            request = records.put(RecordDict(), collection.survivors_request())

            def signed(name: str, content: RecordDict) -> None:
                collection.take_witness(name, records.take(content, Witness))

            self._ask("consistency", dict.fromkeys(nodes, request), SURVIVORS_MESSAGE, signed, timeout, None)
        requests = {node: records.put(RecordDict(), collection.unmask_request(name)) for node, name in nodes.items()}

        def opened(name: str, content: RecordDict) -> None:
            collection.take_reveal(name, records.take(content, UnmaskReply))

        if lost:
            return self._ask("unmask", requests, UNMASK_MESSAGE, opened, timeout, None)
        # The sum is whole, so a threshold of answers is enough: as many are asked, and the others only if one is late.
        # In the last step all are, or they would go on remembering the session's secrets.
        quorum = collection.threshold
        at_first = None if everyone else quorum
        silent = self._ask("unmask", requests, UNMASK_MESSAGE, opened, timeout, quorum, grace=0.0, at_first=at_first)
        return {} if collection.unmasked else silent

    def _ask(
        self,
        kind: str,
        contents: Mapping[int, RecordDict],
        message_type: str,
        take: Callable[[str, RecordDict], None],
        timeout: float,
        quorum: int | None,
        grace: float | None = None,
        at_first: int | None = None,
    ) -> dict[str, Loss]:
        """Ask, pass each good reply to ``take``, count the traffic; returns why each other pod gave none."""
        started = time.monotonic()
        traffic, lost = self._traffic.setdefault(kind, Traffic()), {}
        patience = self._grace if grace is None else grace
        watch = names_of(self._names, kind, self._watch)
        replies = self._exchange.ask(
            contents, message_type, timeout, quorum, patience, watch, at_first=at_first, held=self._grace
        )
        for reply in replies:
            name = self._names[reply.node]
            traffic.messages += 1
            traffic.bytes_out += payload_bytes(contents[reply.node])
            traffic.bytes_in += payload_bytes(reply.content) if reply.content is not None else 0
            if refused := reply.refusal():
                lost[name] = Loss(kind, refused.text, refused.code)
            elif reply.content is None:
                lost[name] = Loss(kind, f"pod '{name}': {reply.failure}")
            else:
                try:
                    take(name, reply.content)
                except ProtocolError as error:
                    lost[name] = Loss(kind, str(error))
        traffic.seconds.append(time.monotonic() - started)
        return lost

    def _addressed(self, request: RecordDict, name: str) -> RecordDict:
        """Return the request with the sealed shares for one pod, until they have been delivered."""
        if not self._secure or name in self._delivered:
            return request
        return records.put_shares(request, self._aggregator.shares_for(name))


class Receiver(Protocol):
    """Adds up replies."""

    def add(self, sender: str, content: RecordDict) -> None:
        """Take one pod's reply."""

    def survives(self, lost: Mapping[str, Loss]) -> bool:
        """Say whether the step can be completed without these pods."""

    def result(self) -> Aggregate:
        """Return the aggregate of all replies."""


class _Masked:
    """Sums masked vectors in the field."""

    def __init__(self, aggregator: Aggregator, step: Step, request: RecordDict) -> None:
        self.collection = aggregator.collect(step, records.request_digest(request))

    def add(self, sender: str, content: RecordDict) -> None:
        self.collection.add(sender, records.take_vector(content), records.take(content, MaskedReply))

    def survives(self, lost: Mapping[str, Loss]) -> bool:
        return self.collection.unmasks and len(self.collection.survivors) >= self.collection.threshold

    def result(self) -> Aggregate:
        return self.collection.result()


class _Plain:
    """Averages values sent in the clear, in float64: what the masked sum is compared with."""

    def __init__(self, classes: Sequence[ElementClass], sizes: Sequence[int]) -> None:
        self._weighted = {c.name: c.segment(1).weighted for c in classes}
        self._shapes = {WEIGHT: (1,)} | {c.name: (size,) for c, size in zip(classes, sizes, strict=True)}
        self._pods = self._weight = 0
        self._sums: dict[str, npt.NDArray[Any]] = {}

    def add(self, sender: str, content: RecordDict) -> None:
        values = records.take_values(content)
        if {name: array.shape for name, array in values.items()} != self._shapes:
            raise AggregateRefused(f"pod '{sender}' sent other values than the step asks for")
        if any(array.dtype.kind not in "fiu" for array in values.values()) or values[WEIGHT].dtype.kind == "f":
            raise AggregateRefused(f"pod '{sender}' sent values that are no numbers")
        weight = int(values.pop(WEIGHT)[0])
        for name, weighted in self._weighted.items():
            self._sums[name] = self._sums.get(name, 0) + values[name] * (weight if weighted else 1)
        self._pods, self._weight = self._pods + 1, self._weight + weight

    def survives(self, lost: Mapping[str, Loss]) -> bool:
        return False

    def result(self) -> Aggregate:
        if not self._weight and any(self._weighted.values()):
            raise AggregateRefused("the pods' total weight is zero: there is nothing to average")
        means = {name: total / self._weight if self._weighted[name] else total for name, total in self._sums.items()}
        return Aggregate(self._pods, self._weight, 0, means)


def payload_bytes(content: RecordDict) -> int:
    """Return the bytes of a message's arrays and byte strings: what grows with the model."""
    total = 0
    for record in content.values():
        if isinstance(record, ArrayRecord):
            total += sum(len(array.data) for array in record.values())
        else:
            total += sum(len(value) for value in record.values() if isinstance(value, bytes | str))
    return total
