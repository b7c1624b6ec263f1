"""The plain Flower handlers of an app, and the named flat arrays of a masked vector that their replies become.

A metric comes out as it was declared to the strategy: a mean over examples, a sum, or a count.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict

from fl_app.flower.names import EVALUATE, EVALUATE_MEAN, METRICS_RECORD, NUM_EXAMPLES, STATISTICS, TRAIN, UPDATE
from fl_app.flower.records import array_of
from fl_app.secagg.codec import Segment
from fl_app.secagg.errors import SessionRefused, ValueRefused
from fl_app.secagg.messages import Parameters, Step

Handler = Callable[[Message, Context], Message]
Values = Mapping[str, Any]


class Handlers:
    """The handlers of one app by kind of step.

    Attributes
    ----------
    train_evaluates : bool
        Whether the training handler evaluates the parameters that came in itself, and replies with the metrics in a
        second MetricRecord, ``evaluate``. Otherwise the evaluation handler is called before it.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self.train_evaluates = False

    def add(self, kind: str, handler: Handler) -> None:
        """Register the handler for a kind of step."""
        self._handlers[kind] = handler

    def values(self, message: Message, context: Context, parameters: Parameters, step: Step) -> tuple[int, Values]:
        """Run the handlers of a step and return this pod's weight and the values of the step's segments by name.

        Raises
        ------
        SessionRefused
            If the app has no handler for the step.
        ValueRefused
            If a reply is not what the step's segments are made from.
        """
        segments = step.segments(parameters.step(step.kind))
        evaluates = any(segment.name.startswith(f"{EVALUATE}.") for segment in segments)
        weight, values = 0, dict[str, Any]()
        if step.kind == STATISTICS:
            values |= metric_values(self._run(STATISTICS, message, context), segments, STATISTICS)
        if evaluates and not (step.kind == TRAIN and self.train_evaluates):
            values |= _evaluation_values(self._run(EVALUATE, message, context), segments)
        if step.kind == TRAIN:
            reply = self._run(TRAIN, message, context)
            if self.train_evaluates and (evaluates or EVALUATE in reply):
                reply, evaluation = _split(reply)
                values |= _evaluation_values(evaluation, segments) if evaluates else {}
            weight = examples_of(reply) if parameters.weighting == "examples" else 1
            values |= {UPDATE: update_of(message.content, reply), **metric_values(reply, segments, TRAIN)}
        return weight, values

    def _run(self, kind: str, message: Message, context: Context) -> RecordDict:
        if kind not in self._handlers:
            raise SessionRefused(f"this app has no '{kind}' handler")
        return self._handlers[kind](message, context).content


class Update:
    """New parameters minus old ones as one flat float64 array, computed slice by slice and never held whole.

    Parameters
    ----------
    new, old : sequences of arrays
        Equal in number and shapes; floating point.
    """

    dtype = np.dtype(np.float64)

    def __init__(self, new: Sequence[npt.NDArray[Any]], old: Sequence[npt.NDArray[Any]]) -> None:
        if [a.shape for a in new] != [a.shape for a in old] or any(a.dtype.kind != "f" for a in (*new, *old)):
            raise ValueRefused("the trained arrays must have the shapes of those received, and be floating point")
        self._pairs = [(a.reshape(-1), b.reshape(-1)) for a, b in zip(new, old, strict=True)]
        self._ends = np.cumsum([len(a) for a, _ in self._pairs], dtype=np.int64)
        self.shape = (int(self._ends[-1]) if self._pairs else 0,)

    def __getitem__(self, part: slice) -> npt.NDArray[np.float64]:
        start, stop, _ = part.indices(self.shape[0])
        out = np.empty(stop - start)
        first = int(np.searchsorted(self._ends, start, side="right"))
        at = start
        while at < stop:
            new, old = self._pairs[first]
            begin = int(self._ends[first]) - len(new)
            end = min(stop, begin + len(new))
            span = slice(at - begin, end - begin)
            np.subtract(new[span], old[span], out=out[at - start : end - start], dtype=np.float64)
            at, first = end, first + 1
        return out


def update_of(request: RecordDict, reply: RecordDict) -> Update | npt.NDArray[Any]:
    """Return the update of the one ArrayRecord that request and reply share, or that which the reply names so itself.

    A handler that has computed the update, and no trained arrays, replies with an ArrayRecord ``update`` of one flat
    array: it goes into the sum as it is, to the last bit.
    """
    if UPDATE in reply.array_records:
        given = [array_of(array) for array in reply.array_records[UPDATE].values()]
        if len(given) != 1 or given[0].ndim != 1 or given[0].dtype.kind != "f":
            raise ValueRefused(f"the ArrayRecord '{UPDATE}' holds one flat array of floating-point numbers")
        return given[0]
    old, new = _arrays(request), _arrays(reply)
    if list(old) != list(new):
        raise ValueRefused("the trained arrays do not have the names of those received")
    return Update([array_of(array) for array in new.values()], [array_of(array) for array in old.values()])


def examples_of(reply: RecordDict) -> int:
    """Return the number of examples that a train or evaluate handler reports."""
    count = _metrics(reply).get(NUM_EXAMPLES)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueRefused(f"the handler's metrics must hold '{NUM_EXAMPLES}', an integer")
    return count


def metric_values(reply: RecordDict, segments: Sequence[Segment], prefix: str, *, factor: int = 1) -> Values:
    """Return the values of the segments named ``prefix.*`` from a handler's metrics, floats times ``factor``."""
    metrics, values = _metrics(reply), {}
    for segment in segments:
        head, _, name = segment.name.partition(".")
        if head != prefix:
            continue
        if name not in metrics:
            raise ValueRefused(f"the handler did not report '{name}', which was declared for {prefix}")
        array = np.atleast_1d(np.asarray(metrics[name]))
        if segment.kind == "count":  # a list of none has no type
            values[segment.name] = array if array.size else array.astype(np.int64)
        else:
            values[segment.name] = array.astype(np.float64) * factor
    return values


def _evaluation_values(reply: RecordDict, segments: Sequence[Segment]) -> Values:
    """Return the values of an evaluation: sums and counts as they are, means as sums over its examples."""
    means = metric_values(reply, segments, EVALUATE_MEAN, factor=examples_of(reply))
    return {**metric_values(reply, segments, EVALUATE), **means}


def _split(reply: RecordDict) -> tuple[RecordDict, RecordDict]:
    """Return the reply of a training handler that evaluates in two: its own records, and the evaluation's."""
    evaluation = reply.metric_records.get(EVALUATE)
    if evaluation is None:
        raise ValueRefused(f"the training handler evaluates, but its reply holds no MetricRecord '{EVALUATE}'")
    own = RecordDict({name: record for name, record in reply.items() if name != EVALUATE})
    return own, RecordDict({METRICS_RECORD: evaluation})


def _arrays(content: RecordDict) -> ArrayRecord:
    records = [record for name, record in content.items() if isinstance(record, ArrayRecord)]
    if len(records) != 1:
        raise ValueRefused("a training request and its reply hold exactly one ArrayRecord")
    return records[0]


def _metrics(reply: RecordDict) -> MetricRecord:
    records = list(reply.metric_records.values())
    if len(records) != 1:
        raise ValueRefused("a handler's reply holds exactly one MetricRecord")
    return records[0]
