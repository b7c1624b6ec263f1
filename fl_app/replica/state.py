"""A replica of a run: all that the next step depends on, kept by each pod and by the server, equal to the bit.

It begins with what the pods have published and signed, and moves on by sums that its holder has verified. Pods of one
session state the digest of theirs when they say hello, and each step's label covers it: pods whose replicas differ make
vectors whose masks do not cancel.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fl_app.secagg.canonical import Value, decode, digest, encode
from fl_app.secagg.errors import MalformedMessage

NOTHING = bytes(32)
"""The digest that a pod states which has no replica of the series."""
Arrays = Mapping[str, npt.NDArray[Any]]
_HEAD_SIZE = 8


@dataclass(frozen=True)
class Replica:
    """What follows from the steps of a series that have been completed.

    Attributes
    ----------
    place : int
        How many steps have been followed.
    facts : mapping of str to Value
        What the app's rule keeps beside arrays.
    model, carried : mappings of name to array
        The model, and what the averaging carries from round to round, such as momenta.
    completed : int
        How many rounds of training have been completed.
    history : mapping of int to bytes
        Digest of the model after each completed round, by the round's number.
    """

    place: int = 0
    facts: Mapping[str, Value] = field(default_factory=dict)
    model: Arrays = field(default_factory=dict)
    carried: Arrays = field(default_factory=dict)
    completed: int = 0
    history: Mapping[int, bytes] = field(default_factory=dict)

    @cached_property
    def digest(self) -> bytes:
        """The 32 bytes that stand for it."""
        return digest("fl-app/replica/1/state", self._head)

    @property
    def last_round(self) -> int | None:
        """Number of the round that was completed last, None before the first."""
        return max(self.history, default=None)

    def moved(self, **changes: Any) -> "Replica":
        """Return the replica one step on, changed like this."""
        return replace(self, place=self.place + 1, **changes)

    def trained(self, number: int, model: Arrays, carried: Arrays, **facts: Value) -> "Replica":
        """Return the replica after round ``number`` of training, which made ``model``."""
        return self.moved(
            facts={**self.facts, **facts},
            model=model,
            carried=carried,
            completed=self.completed + 1,
            history={**self.history, number: model_digest(model)},
        )

    @cached_property
    def _head(self) -> bytes:
        return encode(
            {
                "place": self.place,
                "facts": dict(self.facts),
                "model": _described(self.model),
                "carried": _described(self.carried),
                "completed": self.completed,
                "history": [[number, known] for number, known in self.history.items()],
            }
        )

    def parts(self) -> list[bytes | memoryview]:
        """Return the replica as pieces of bytes, in order; `from_bytes` reads them joined."""
        arrays = [*self.model.values(), *self.carried.values()]
        size = len(self._head).to_bytes(_HEAD_SIZE, "big")
        return [size, self._head, *(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in arrays)]

    def to_bytes(self) -> bytes:
        """Return the whole replica as bytes."""
        return b"".join(self.parts())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote, arrays read-only in ``data``; raises `MalformedMessage` for anything else."""
        size = int.from_bytes(data[:_HEAD_SIZE], "big")
        head: Any = decode(data[_HEAD_SIZE : _HEAD_SIZE + size])
        try:
            at = _HEAD_SIZE + size
            arrays: list[dict[str, npt.NDArray[Any]]] = []
            for part in ("model", "carried"):
                arrays.append({})
                for name, dtype, shape, _ in head[part]:
                    kind, count = np.dtype(dtype), int(np.prod(shape, dtype=np.int64))
                    if kind.kind not in "fiu" or min(shape, default=0) < 0:
                        raise ValueError("an array of another kind")
                    arrays[-1][name] = np.frombuffer(data, kind, count, at).reshape(shape)
                    at += count * kind.itemsize
            history = dict(head["history"])
            model, carried = arrays
            read = cls(head["place"], head["facts"], model, carried, head["completed"], history)
            if at != len(data) or read._head != data[_HEAD_SIZE : _HEAD_SIZE + size]:
                raise ValueError("bytes that do not belong to the head")
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise MalformedMessage("not a replica of a run") from error
        return read


def model_digest(model: Arrays) -> bytes:
    """Return the digest of a model's arrays: names, types, shapes and bytes, 32 bytes."""
    return digest("fl-app/replica/1/model", _described(model))


def _described(arrays: Arrays) -> list[Value]:
    return [
        [name, array.dtype.newbyteorder("<").str, list(array.shape), _sha256(array)] for name, array in arrays.items()
    ]


def _sha256(array: npt.NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).digest()
