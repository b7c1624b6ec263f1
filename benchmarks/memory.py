"""Peak memory of a pod and of the server, beyond what they begin with: each in a process of its own.

Ours is from the bytes of the incoming message to the bytes of the outgoing one. Flower's own share is what it holds
beside that to cut a message into the pieces it sends, or to put it together from those it received.
"""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from benchmarks.children import child_environment
from fl_app.errors import RunFailed, UsageError
from fl_app.flower import records
from fl_app.flower.names import MASKED_RECORD, SECAGG_RECORD
from fl_app.secagg.codec import Encoder, Layout, Segment
from fl_app.secagg.field import FIELD_61, field_of
from fl_app.secagg.masking import Sum, check_vector, mask

PARTS = ("pod", "server", "flower-pod", "flower-server")
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Peak:
    """Most bytes held at once beyond the start, and how many masked vectors that is."""

    part: str
    pods: int
    elements: int
    bytes: int
    vectors: float


def peak(part: str, elements: int, pods: int, prime: int = FIELD_61.prime) -> Peak:
    """Measure one of `PARTS` in a new process."""
    if not _RESET.exists():
        raise UsageError("peak memory is read from /proc, which this system does not have")
    command = [sys.executable, "-m", __name__, part, str(elements), str(pods), str(prime)]
    done = subprocess.run(  # noqa: S603 - its parts are ours
        command, env=child_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RunFailed(f"measuring the memory of {part} failed: {done.stderr.strip().splitlines()[-1]}")
    return Peak(part, pods, elements, **json.loads(done.stdout))


def _measured(work: Callable[[], Any]) -> int:
    """Return the bytes that were resident at the peak of ``work``, beyond those before it."""
    gc.collect()
    before = _kilobytes("VmRSS")
    _RESET.write_text("5")  # the peak begins anew
    result = work()
    most = _kilobytes("VmHWM")
    del result
    return (most - before) * 1024


def _kilobytes(name: str) -> int:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1])


class _Difference:
    """New parameters minus old ones, computed slice by slice, as a pod's update is."""

    dtype = np.dtype(np.float64)

    def __init__(self, new: Any, old: Any) -> None:
        self._new, self._old, self.shape = new, old, new.shape

    def __getitem__(self, part: slice) -> Any:
        return np.subtract(self._new[part], self._old[part], dtype=np.float64)


def _layout(elements: int, pods: int, prime: int) -> Layout:
    return Layout(field_of(prime), pods, 1, [Segment("update", "update", 8.0, elements)])


def _array(elements: int) -> Array:
    """Return an array of float32 on Flower's side of the wire."""
    made = Array(np.zeros(0, np.float32))
    head = made.data.replace(b"(0,), }" + b" " * len(f"{elements}"), f"({elements},), }} ".encode())
    return Array("float32", (elements,), made.stype, head + np.full(elements, 0.5, np.float32).tobytes())


def _pod(elements: int, pods: int, prime: int) -> tuple[int, int]:
    """From the bytes of the model that came and of the one that was trained to those of the reply."""
    request = RecordDict({"arrays": ArrayRecord({"w": _array(elements)})})
    trained, layout = _array(elements), _layout(elements, pods, prime)
    seeds = [bytes([i]) * 32 for i in range(1, pods + 1)]

    def work() -> RecordDict:
        records.request_digest(request)
        update: Any = _Difference(records.array_of(trained), records.array_of(request.array_records["arrays"]["w"]))
        vector = mask(layout, Encoder(layout, 1, {"update": update}), seeds[: pods // 2], seeds[pods // 2 :])
        return records.put_vector(RecordDict(), vector)

    return _measured(work), layout.length * layout.field.dtype.itemsize


def _server(elements: int, pods: int, prime: int) -> tuple[int, int]:
    """From the bytes of the replies, which come one after another, to the mean."""
    layout = _layout(elements, pods, prime)
    template = _reply(layout).array_records[MASKED_RECORD]["vector"]

    def arrives() -> RecordDict:
        data = bytes(memoryview(template.data))
        record = ArrayRecord({"vector": Array(template.dtype, template.shape, template.stype, data)})
        return RecordDict({SECAGG_RECORD: ConfigRecord(), MASKED_RECORD: record})

    def work() -> Any:
        total = Sum(layout.field, layout.length)
        for _ in range(pods):
            content = arrives()
            vector = records.take_vector(content)
            check_vector(layout, vector, "")
            total.add(vector)
            del content, vector
        return total.decoded(layout)

    return _measured(work), layout.length * layout.field.dtype.itemsize


def _reply(layout: Layout, *seeds: bytes) -> RecordDict:
    """Return the reply of a pod whose update is 0; without masks, so that any number of it can be summed.

    Flower takes pieces that are alike for one, so what it does is measured under the masks of ``seeds``.
    """
    values: Any = {"update": np.broadcast_to(np.float32(0), layout.length - layout.blocks - 2)}
    return records.put_vector(RecordDict(), mask(layout, Encoder(layout, 1, values), seeds, []))


def _flower_pod(elements: int, pods: int, prime: int) -> tuple[int, int]:
    """What Flower's ClientApp process does to a reply before it is sent."""
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
    from flwr.supercore.inflatable.inflatable_utils import push_objects

    layout = _layout(elements, pods, prime)
    content = _reply(layout, bytes(32))
    seen = _measured(lambda: push_objects(get_all_nested_objects(content), lambda _, __: None))
    return seen, layout.length * layout.field.dtype.itemsize


def _flower_server(elements: int, pods: int, prime: int) -> tuple[int, int]:
    """What Flower's ServerApp process holds of one reply while it puts it together, the message itself included."""
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
    from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

    layout = _layout(elements, pods, prime)
    content = _reply(layout, bytes(32))
    pieces = {number: part.deflate() for number, part in get_all_nested_objects(content).items()}
    name = content.object_id
    del content

    def work() -> Any:
        received = {number: bytes(memoryview(piece)) for number, piece in pieces.items()}
        return inflate_object_from_contents(name, received)

    return _measured(work), layout.length * layout.field.dtype.itemsize


if __name__ == "__main__":
    _, part, elements, pods, prime = sys.argv
    work = {"pod": _pod, "server": _server, "flower-pod": _flower_pod, "flower-server": _flower_server}[part]
    used, vector = work(int(elements), int(pods), int(prime))
    print(json.dumps({"bytes": used, "vectors": used / vector}))
