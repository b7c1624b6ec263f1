"""From what a plain Flower handler returns to the named flat arrays of a masked vector.

A metric comes out as it was declared to the strategy: a mean over examples, a sum, or a count.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, MetricRecord, RecordDict

from fl_app.flower.names import NUM_EXAMPLES
from fl_app.flower.records import array_of
from fl_app.secagg.codec import Segment
from fl_app.secagg.errors import ValueRefused

Values = Mapping[str, Any]


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


def update_of(request: RecordDict, reply: RecordDict) -> Update:
    """Return the update of the one ArrayRecord that request and reply share."""
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
    metrics, found = _metrics(reply), {}
    for segment in segments:
        head, _, name = segment.name.partition(".")
        if head != prefix:
            continue
        if name not in metrics:
            raise ValueRefused(f"the handler did not report '{name}', which was declared for {prefix}")
        array = np.atleast_1d(np.asarray(metrics[name]))
        found[segment.name] = array if segment.kind == "count" else array.astype(np.float64) * factor
    return found


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
