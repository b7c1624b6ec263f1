"""One masked step as the server runs it: the same request to every pod, vectors summed as they come, one aggregate."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt
from flwr.app import ArrayRecord, RecordDict

from fl_app import wire
from fl_app.errors import RunFailed
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.errors import ProtocolError
from fl_app.secagg.fixed_point import Aggregate
from fl_app.secagg.messages import ElementClass, Step
from strategies.cohort import Cohort
from strategies.exchange import Exchange, Reply


class StepFailed(RunFailed):
    """A step could not be completed; the text names the pods that stand in the way. The model stays as it was."""


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
    """

    def __init__(self, exchange: Exchange, aggregator: Aggregator, cohort: Cohort, *, secure: bool) -> None:
        self._exchange, self._aggregator, self._cohort, self._secure = exchange, aggregator, cohort, secure
        self._names = {node: name for name, node in cohort.nodes.items()}
        self._shares_delivered = not secure
        self.traffic: dict[str, Traffic] = {}

    def run(self, kind: str, round: int, content: RecordDict, sizes: Mapping[str, int], timeout: float) -> Aggregate:
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
            If a pod refuses, fails, is late or sends what is not its vector, or the sum fails its checks.
        """
        started = time.monotonic()
        classes = self._aggregator.parameters.step(kind).classes
        names = tuple(c.name for c in classes)
        step = Step(self._aggregator.session, kind, round, names, tuple(sizes.get(name, 1) for name in names))
        request = wire.put(RecordDict(dict(content)), step)
        receive: Receiver = _Masked(self._aggregator, step, request) if self._secure else _Plain(classes)
        contents = {node: self._addressed(request, name) for node, name in self._names.items()}
        message_type = wire.KINDS[kind] if self._secure else wire.PLAIN[wire.KINDS[kind]]
        traffic, problems = self.traffic.setdefault(kind, Traffic()), []
        for reply in self._exchange.ask(contents, message_type, timeout):
            traffic.messages += 1
            traffic.bytes_out += payload_bytes(contents[reply.node])
            traffic.bytes_in += payload_bytes(reply.content) if reply.content is not None else 0
            if problem := self._take(reply, receive):
                problems.append(problem)
        if problems:
            raise StepFailed(f"the '{kind}' step of round {round} failed: {'; '.join(problems)}")
        self._shares_delivered = True
        try:
            aggregate = receive.result()
        except ProtocolError as error:
            raise StepFailed(f"the '{kind}' step of round {round} failed: {error}") from error
        traffic.seconds.append(time.monotonic() - started)
        return aggregate

    def _addressed(self, request: RecordDict, name: str) -> RecordDict:
        """Return the request with the sealed shares for one pod, until they have been delivered."""
        return request if self._shares_delivered else wire.put_shares(request, self._aggregator.shares_for(name))

    def _take(self, reply: Reply, receive: "Receiver") -> str:
        """Pass one reply on; returns what is wrong with it, if anything."""
        name = self._names[reply.node]
        if refused := reply.refusal():
            return refused.text
        if reply.content is None:
            return f"pod '{name}': {reply.failure}"
        try:
            receive.add(name, reply.content)
        except ProtocolError as error:
            return str(error)
        return ""


class Receiver(Protocol):
    """Adds up replies."""

    def add(self, sender: str, content: RecordDict) -> None:
        """Take one pod's reply."""

    def result(self) -> Aggregate:
        """Return the aggregate of all replies."""


class _Masked:
    """Sums masked vectors in the field."""

    def __init__(self, aggregator: Aggregator, step: Step, request: RecordDict) -> None:
        self._collection = aggregator.collect(step, wire.request_digest(request))

    def add(self, sender: str, content: RecordDict) -> None:
        signature = wire.take(content, wire.MaskedReply).signature
        self._collection.add(sender, wire.take_vector(content), signature)

    def result(self) -> Aggregate:
        return self._collection.result()


class _Plain:
    """Averages values sent in the clear, in float64: what the masked sum is compared with."""

    def __init__(self, classes: Sequence[ElementClass]) -> None:
        self._weighted = {c.name: c.segment(1).weighted for c in classes}
        self._pods = self._weight = 0
        self._sums: dict[str, npt.NDArray[Any]] = {}

    def add(self, sender: str, content: RecordDict) -> None:
        values = wire.take_values(content)
        weight = int(values.pop("weight")[0])
        for name, weighted in self._weighted.items():
            self._sums[name] = self._sums.get(name, 0) + values[name] * (weight if weighted else 1)
        self._pods, self._weight = self._pods + 1, self._weight + weight

    def result(self) -> Aggregate:
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
