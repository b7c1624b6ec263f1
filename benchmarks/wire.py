"""Bytes per parameter of the messages that carry a model, ours beside SecAgg+'s and plain float32."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common import ndarray_to_bytes

from benchmarks import rivals
from fl_app.flower import records
from fl_app.secagg.codec import Encoder, Layout, Segment
from fl_app.secagg.crypto import box
from fl_app.secagg.field import FIELD_31, FIELD_61, Field
from fl_app.secagg.masking import mask
from fl_app.secagg.messages import MaskedReply
from strategies.polling import payload_bytes


@dataclass(frozen=True)
class Size:
    """One message from a pod: bytes per parameter of its vector, and bytes of everything else in it."""

    what: str
    by: str
    pods: int
    elements: int
    per_parameter: float
    beside: int


def sizes(elements: int, pods: Sequence[int]) -> Iterator[Size]:
    """Make the messages of cohorts of each number of pods and yield their sizes."""
    for count in pods:
        for field in (FIELD_61, FIELD_31):
            for what, threshold in (("every pod must answer", False), ("pods may be lost", True)):
                yield _ours(elements, count, field, what, threshold)
        yield _secaggplus(elements, count)
    array = Array(np.zeros(elements, np.float32))
    plain = RecordDict({"arrays": ArrayRecord({"w": array})})
    yield _size("no secrets", "plain float32", 1, elements, plain, elements * 4)


def _size(what: str, by: str, pods: int, elements: int, content: RecordDict, vector: int) -> Size:
    return Size(what, by, pods, elements, vector / elements, payload_bytes(content) - vector)


def _ours(elements: int, pods: int, field: Field, what: str, threshold: bool) -> Size:
    layout = Layout(field, pods, 1, [Segment("update", "update", 8.0, elements)])
    vector = mask(layout, Encoder(layout, 1, {"update": np.zeros(elements, np.float32)}), [bytes(32)], [])
    names = [f"hospital-{i}" for i in range(pods)] if threshold else []
    shares = tuple(box(bytes(32), bytes(32)) for _ in names)
    reply = MaskedReply(bytes(32) if threshold else b"", shares, bytes(64))
    content = records.put_vector(records.put(RecordDict(), reply), vector)
    return _size(what, f"fl-app 2^{field.bits}-1", pods, elements, content, vector.nbytes)


def _secaggplus(elements: int, pods: int) -> Size:
    seeds = [bytes([i]) * 32 for i in range(1, pods + 1)]
    arrays = rivals.secaggplus_pod_step([np.zeros(elements, np.float32)], 1, seeds[0], seeds[1:])
    content = RecordDict({"configs": ConfigRecord({"masked": [ndarray_to_bytes(array) for array in arrays]})})
    written = payload_of(content)
    return Size("pods may be lost", "SecAgg+", pods, elements, arrays[1].nbytes / elements, written - arrays[1].nbytes)


def payload_of(content: RecordDict) -> int:
    """Return the bytes in a record's lists of byte strings, where SecAgg+ puts its vector."""
    return sum(len(item) for record in content.values() for value in record.values() if isinstance(value, list)
               for item in value if isinstance(item, bytes))  # fmt: skip
