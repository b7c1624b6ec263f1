"""Adding up the pods' vectors of one step: masked, in the field, or in the clear for comparison."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt
from flwr.app import RecordDict

from fl_app.flower import records
from fl_app.flower.names import WEIGHT
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.errors import AggregateRefused
from fl_app.secagg.field import Words
from fl_app.secagg.messages import ElementClass, MaskedReply, Proof, Step


class StepSum(Protocol):
    """Adds up the replies to one step."""

    def add(self, sender: str, content: RecordDict) -> None:
        """Add one pod's reply; raises a `ProtocolError` if it is not to be used."""

    def survives(self) -> bool:
        """Say whether the step can be completed without the pods that have not been added."""

    def result(self) -> Aggregate:
        """Return the aggregate of all replies."""

    def proof(self) -> tuple[Proof, Words] | None:
        """Return what proves the sum to pods that follow the run, and the sum itself; None where nothing does."""


class MaskedSum:
    """The sum of masked vectors in the field.

    Parameters
    ----------
    aggregator : Aggregator
        The session.
    step : Step
        The step.
    request : RecordDict
        The common request, which is bound into the masks.
    followed : bytes
        Digest of the replica on which the step is asked, b"" outside verified sessions.
    """

    def __init__(self, aggregator: Aggregator, step: Step, request: RecordDict, followed: bytes = b"") -> None:
        self._verified = aggregator.parameters.verified
        self.collection = aggregator.collect(step, records.request_digest(request), followed)

    def add(self, sender: str, content: RecordDict) -> None:
        """Add one masked vector, once its signature has been verified."""
        self.collection.add(sender, records.take_vector(content), records.take(content, MaskedReply))

    def survives(self) -> bool:
        """Say whether as many pods as the threshold asks for have been added."""
        return self.collection.unmasks and len(self.collection.survivors) >= self.collection.threshold

    def result(self) -> Aggregate:
        """Return the decoded sum."""
        return self.collection.result()

    def proof(self) -> tuple[Proof, Words] | None:
        """Return the proof of a verified session's sum, and the sum; to be called once it has been decoded."""
        return self.collection.proof() if self._verified else None


class PlainSum:
    """The mean of values sent in the clear, in float64: what the masked sum is compared with.

    Parameters
    ----------
    classes : sequence of ElementClass
        What the step's plan declares.
    sizes : sequence of int
        Number of elements of each class.
    """

    def __init__(self, classes: Sequence[ElementClass], sizes: Sequence[int]) -> None:
        self._weighted: Mapping[str, bool] = {c.name: c.segment(1).weighted for c in classes}
        self._shapes = {WEIGHT: (1,)} | {c.name: (size,) for c, size in zip(classes, sizes, strict=True)}
        self._pods = self._weight = 0
        self._sums: dict[str, npt.NDArray[Any]] = {}

    def add(self, sender: str, content: RecordDict) -> None:
        """Add one pod's values, if they have the declared names and sizes."""
        values = records.take_values(content)
        if {name: array.shape for name, array in values.items()} != self._shapes:
            raise AggregateRefused(f"pod '{sender}' sent other values than the step asks for")
        if any(array.dtype.kind not in "fiu" for array in values.values()) or values[WEIGHT].dtype.kind == "f":
            raise AggregateRefused(f"pod '{sender}' sent values that are no numbers")
        weight = int(values.pop(WEIGHT)[0])
        for name, weighted in self._weighted.items():
            self._sums[name] = self._sums.get(name, 0) + values[name] * (weight if weighted else 1)
        self._pods, self._weight = self._pods + 1, self._weight + weight

    def survives(self) -> bool:
        """Say no: without masks every pod is needed."""
        return False

    def result(self) -> Aggregate:
        """Return the means and sums; raises `AggregateRefused` if a mean is over nothing."""
        if not self._weight and any(self._weighted.values()):
            raise AggregateRefused("the pods' total weight is zero: there is nothing to average")
        means = {name: total / self._weight if self._weighted[name] else total for name, total in self._sums.items()}
        return Aggregate(self._pods, self._weight, 0, means)

    def proof(self) -> None:
        """Return nothing: pods that send their values in the clear believe what they are told."""
