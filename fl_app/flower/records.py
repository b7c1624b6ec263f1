"""The protocol's messages in Flower's records: the one place that knows both.

A request or reply carries its protocol message as bytes in the ConfigRecord ``secagg``. Sealed shares for one pod
travel in ``shares``, outside what the step's label covers; a masked vector travels in the ArrayRecord ``masked``, and
what a pod publishes beside its hello in ``published``.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fl_app.flower.names import (
    CHECKED_APART,
    COHORT_RECORD,
    CONTENT,
    MASKED_RECORD,
    PROOF_RECORD,
    PUBLISHED_RECORD,
    REPLICA_RECORD,
    SEALED,
    SECAGG_RECORD,
    SHARES_RECORD,
    SUM_RECORD,
    VALUES_RECORD,
    VECTOR,
)
from fl_app.secagg import npy
from fl_app.secagg.canonical import Value, digest
from fl_app.secagg.errors import MalformedMessage, NotApproved, ProtocolError, TooLarge
from fl_app.secagg.field import Words
from fl_app.secagg.messages import Hello, Parameters, Proof, Record, SealedShare
from fl_app.system.files import has_no_space

MAX_MESSAGE = 4 << 20
"""Most bytes of a protocol message, and of what a pod publishes."""
_NUMPY = "numpy.ndarray"
M = TypeVar("M", bound=Record)


@dataclass(frozen=True)
class HelloRequest(Record):
    """The server's opening: a session, and everything that is fixed for it.

    ``proposal`` is what the modeller proposes for what pods publish, in the app's own words; "" for nothing.
    """

    session: bytes
    parameters: Parameters
    secure: bool
    proposal: str = ""


@dataclass(frozen=True)
class Published(Record):
    """What a pod shows on purpose: its schema, which of the requested pods its owner approves, what it has installed.

    ``versions`` are written as "flwr 1.41.0"; ``declared`` is what the app has the pod say of itself for a run's
    settings, in the app's own words.
    """

    schema: str
    approves: tuple[str, ...]
    versions: tuple[str, ...] = ()
    declared: str = ""

    def digest(self) -> bytes:
        """Return the 32 bytes that stand for it in the pod's hello."""
        return digest("fl-app/secagg/1/published", self.to_bytes())


@dataclass(frozen=True)
class RosterRequest(Record):
    """All hellos of a session, in canonical order."""

    hellos: tuple[Hello, ...]


@dataclass(frozen=True)
class RosterReply(Record):
    """One sealed share for every neighbour."""

    shares: tuple[SealedShare, ...]


@dataclass(frozen=True)
class Bystander(Record):
    """The answer of a pod that was not requested: its name and nothing else."""

    name: str


@dataclass(frozen=True)
class Refusal(Record):
    """The answer of a pod that refuses: which pod, which check, and a text made of public things only.

    ``approves`` names the requested pods its owner does approve, where that is why it refuses.
    """

    name: str
    code: str
    text: str
    approves: tuple[str, ...] = ()


def put(content: RecordDict, message: Record) -> RecordDict:
    """Add a protocol message to ``content`` and return it."""
    content[SECAGG_RECORD] = ConfigRecord({type(message).__name__: message.to_bytes()})
    return content


def take(content: RecordDict, *kinds: type[M]) -> M:
    """Return the protocol message in ``content``, one of ``kinds``; raises `MalformedMessage` for anything else."""
    record = content.get(SECAGG_RECORD)
    if isinstance(record, ConfigRecord) and len(record) == 1:
        for kind in kinds:
            data = record.get(kind.__name__)
            if isinstance(data, bytes):
                check_size(f"a message of type {kind.__name__}", len(data))
                return kind.from_bytes(data)
    raise MalformedMessage(f"expected a message of type {' or '.join(kind.__name__ for kind in kinds)}")


def check_size(what: str, size: int, more: str = "") -> None:
    """Raise `TooLarge` if ``what`` has more bytes than are read in one piece; ``more`` ends its sentence."""
    if size > MAX_MESSAGE:
        raise TooLarge(f"{what} has {size:,} bytes, and at most {MAX_MESSAGE:,} are read{more}")


def put_published(content: RecordDict, published: Published) -> RecordDict:
    """Add what a pod publishes to ``content``, beside its hello, and return it."""
    content[PUBLISHED_RECORD] = ConfigRecord({CONTENT: published.to_bytes()})
    return content


def take_published(content: RecordDict, hello: Hello) -> Published:
    """Return what a pod publishes with its hello; raises a `ProtocolError` unless its digest stands in the hello."""
    record = content.get(PUBLISHED_RECORD)
    data = record.get(CONTENT) if isinstance(record, ConfigRecord) and len(record) == 1 else None
    if not isinstance(data, bytes):
        raise MalformedMessage(f"the hello of pod '{hello.name}' came without what the pod publishes")
    return _published(data, hello)


def _published(data: Any, hello: Hello) -> Published:
    if not isinstance(data, bytes):
        raise MalformedMessage(f"what pod '{hello.name}' publishes is no message")
    check_size(f"what pod '{hello.name}' publishes", len(data))
    published = Published.from_bytes(data)
    if published.digest() != hello.published:
        raise MalformedMessage(f"what came with the hello of pod '{hello.name}' is not what it publishes")
    return published


def put_cohort(content: RecordDict, published: Mapping[str, Published]) -> RecordDict:
    """Add what each pod of a session publishes to ``content`` and return it."""
    content[COHORT_RECORD] = ConfigRecord({name: shown.to_bytes() for name, shown in published.items()})
    return content


def take_cohort(content: RecordDict, hellos: Sequence[Hello]) -> dict[str, Published]:
    """Return what each pod of a roster publishes.

    Raises
    ------
    MalformedMessage, TooLarge
        Unless it is there of each pod and of no other, under the digest in the pod's hello.
    """
    record = content.get(COHORT_RECORD)
    if not isinstance(record, ConfigRecord) or set(record) != {hello.name for hello in hellos}:
        raise MalformedMessage("the first step came without what each pod publishes")
    return {hello.name: _published(record[hello.name], hello) for hello in hellos}


def put_proof(content: RecordDict, proof: Proof, total: Words) -> RecordDict:
    """Return a copy of ``content`` (records shared) with the proof of a step and the sum that it proves."""
    return RecordDict(
        {
            **content,
            PROOF_RECORD: ConfigRecord({CONTENT: proof.to_bytes()}),
            SUM_RECORD: ArrayRecord({VECTOR: array_from(total)}),
        }
    )


def take_proof(content: RecordDict) -> tuple[Proof, Words] | None:
    """Return the proof of a step and the sum in ``content``, None if there is none."""
    record, total = content.get(PROOF_RECORD), content.get(SUM_RECORD)
    if record is None and total is None:
        return None
    data = record.get(CONTENT) if isinstance(record, ConfigRecord) and len(record) == 1 else None
    if not isinstance(data, bytes) or not isinstance(total, ArrayRecord) or set(total) != {VECTOR}:
        raise MalformedMessage("a proof that is not one message and one sum")
    check_size("a proof", len(data))
    return Proof.from_bytes(data), array_of(total[VECTOR])


def put_replica(content: RecordDict, replica: bytes) -> RecordDict:
    """Return a copy of ``content`` (records shared) with a replica for a pod that lacks it."""
    held = npy.filled(
        (len(replica),), np.dtype(np.uint8), lambda out: out.__setitem__(..., np.frombuffer(replica, "u1"))
    )
    return RecordDict({**content, REPLICA_RECORD: ArrayRecord({CONTENT: array_from(held)})})


def take_replica(content: RecordDict) -> bytes | None:
    """Return the bytes of the replica in ``content``, None if there is none."""
    record = content.get(REPLICA_RECORD)
    if record is None:
        return None
    if not isinstance(record, ArrayRecord) or set(record) != {CONTENT}:
        raise MalformedMessage("a replica that is not one array")
    held = array_of(record[CONTENT])
    if held.dtype != np.uint8 or held.ndim != 1:
        raise MalformedMessage("a replica that is not bytes")
    return held.tobytes()


def put_shares(content: RecordDict, shares: Sequence[SealedShare]) -> RecordDict:
    """Return a copy of ``content`` (records shared) with the sealed shares addressed to one pod."""
    return RecordDict({**content, SHARES_RECORD: ConfigRecord({SEALED: [share.to_bytes() for share in shares]})})


def take_shares(content: RecordDict) -> list[SealedShare] | None:
    """Return the sealed shares in ``content``, or None if there are none."""
    record = content.get(SHARES_RECORD)
    if record is None:
        return None
    sealed = record.get(SEALED) if isinstance(record, ConfigRecord) and len(record) == 1 else None
    if not isinstance(sealed, list) or not all(isinstance(item, bytes) for item in sealed):
        raise MalformedMessage("the sealed shares are not a list of messages")
    return [SealedShare.from_bytes(item) for item in sealed if isinstance(item, bytes)]


def put_vector(content: RecordDict, vector: Words) -> RecordDict:
    """Add a masked vector to ``content`` and return it; one that `masking.mask` made is not copied."""
    content[MASKED_RECORD] = ArrayRecord({VECTOR: array_from(vector)})
    return content


def take_vector(content: RecordDict) -> Words:
    """Return the masked vector in ``content``; raises `MalformedMessage` if there is none that can be read."""
    record = content.get(MASKED_RECORD)
    if set(content) != {SECAGG_RECORD, MASKED_RECORD} or not isinstance(record, ArrayRecord) or set(record) != {VECTOR}:
        raise MalformedMessage("a reply that is not one masked vector and its signature")
    vector: Words = array_of(record[VECTOR])
    if vector.ndim != 1:
        raise MalformedMessage("a masked vector that is not one flat array")
    return vector


def put_values(content: RecordDict, values: Mapping[str, npt.NDArray[Any]]) -> RecordDict:
    """Add plain values, for runs without secure aggregation, to ``content`` and return it."""
    content[VALUES_RECORD] = ArrayRecord({name: Array(array) for name, array in values.items()})
    return content


def take_values(content: RecordDict) -> dict[str, npt.NDArray[Any]]:
    """Return the plain values in ``content``."""
    record = content.get(VALUES_RECORD)
    if not isinstance(record, ArrayRecord):
        raise MalformedMessage("a reply without values")
    return {name: array_of(array) for name, array in record.items()}


def array_from(array: npt.NDArray[Any]) -> Array:
    """Return an array as it is sent; not copied if it lies in the bytes of a file, as those of `npy.filled` do."""
    return Array(str(array.dtype), array.shape, _NUMPY, npy.file_of(array))


def array_of(array: Array) -> npt.NDArray[Any]:
    """Return a received array, read-only and not copied; raises `MalformedMessage` if it cannot be read."""
    try:
        if array.stype != _NUMPY:
            raise ValueError("not in numpy's form")
        return npy.array_in(array.data)
    except Exception as error:  # hostile bytes make numpy raise much, MemoryError and tokenize's errors included
        raise MalformedMessage("an array that cannot be read") from error


def request_digest(content: RecordDict) -> bytes:
    """Return the digest of the whole common request: every record, every array's name, dtype, shape and bytes.

    Outside stays what is checked by itself: sealed shares, which differ from pod to pod and carry signatures of their
    own; the proof of the step before, and a replica for a pod that lacks it. What these two make of a pod's replica is
    under the step's label.
    """
    common = [[name, _record(content[name])] for name in sorted(content) if name not in CHECKED_APART]
    return digest("fl-app/secagg/1/request", common)


def _record(record: ArrayRecord | ConfigRecord | MetricRecord) -> Value:
    if isinstance(record, ArrayRecord):
        return ["arrays", [[name, _array(array)] for name, array in record.items()]]
    kind = "config" if isinstance(record, ConfigRecord) else "metrics"
    return [kind, dict(record)]


def _array(array: Array) -> Value:
    return [array.dtype, list(array.shape), array.stype, hashlib.sha256(array.data).digest()]


def refusal(name: str, error: ProtocolError) -> Refusal:
    """Return the refusal that tells of ``error``."""
    return Refusal(name, error.code, str(error), error.approves if isinstance(error, NotApproved) else ())


def no_answer(name: str, error: BaseException | None = None) -> Refusal:
    """Return the refusal that tells whose error it was, and no more: but of a full disk, no log there can tell."""
    why = ": the disk of its machine is full" if has_no_space(error) else "; its own log says why"
    return Refusal(name, "pod-error", f"pod '{name}' could not answer{why}")
