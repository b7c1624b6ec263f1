"""A request's arrays in one record: Flower sends each array as objects of its own, and each object is a request.

A network of a dozen small arrays is thirty requests to every pod that way, which cost a SuperLink more than all the
rest of a round. So arrays that are small together travel as the bytes of one ConfigRecord. Large ones stay as they are:
they are sent in pieces anyway, and packing them would copy them.
"""

from collections.abc import Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fl_app.flower.names import PACKED_RECORD
from fl_app.secagg.errors import MalformedMessage

MOST_BYTES = 1 << 20
"""Most bytes of all arrays of a content for them to be packed."""
_LISTS: Mapping[str, type] = {"records": str, "names": str, "dtypes": str, "shapes": str, "stypes": str, "sizes": int}
"""For each array the record it is in, what it is called, and what it is; its bytes follow each other in ``data``."""
_DATA = "data"


def packed(content: RecordDict) -> RecordDict:
    """Return ``content`` with its arrays in one record, if they are small; other records are shared."""
    arrays = [(record, name, array) for record, held in _arrays(content).items() for name, array in held.items()]
    if not arrays or sum(len(array.data) for *_, array in arrays) > MOST_BYTES:
        return content
    described: dict[str, Any] = {
        "records": [record for record, _, _ in arrays],
        "names": [name for _, name, _ in arrays],
        "dtypes": [array.dtype for *_, array in arrays],
        "shapes": [",".join(map(str, array.shape)) for *_, array in arrays],
        "stypes": [array.stype for *_, array in arrays],
        "sizes": [len(array.data) for *_, array in arrays],
    }
    others = {name: record for name, record in content.items() if not isinstance(record, ArrayRecord)}
    data = b"".join(array.data for *_, array in arrays)
    return RecordDict({**others, PACKED_RECORD: ConfigRecord({**described, _DATA: data})})


def unpacked(content: RecordDict) -> RecordDict:
    """Return ``content`` as it was before `packed`.

    Raises
    ------
    MalformedMessage
        If the packed record is none, or holds a record that is there as well.
    """
    if PACKED_RECORD not in content:
        return content
    lists, data = _checked(content[PACKED_RECORD])
    arrays: dict[str, dict[str, Array]] = {}
    start = 0
    for record, name, dtype, shape, stype, size in zip(*lists, strict=True):
        held = arrays.setdefault(record, {})
        if name in held or record in content:
            raise MalformedMessage("a packed array that is there twice")
        held[name] = Array(dtype, _shape(shape), stype, data[start : start + size])
        start += size
    others = {name: record for name, record in content.items() if name != PACKED_RECORD}
    return RecordDict({**others, **{record: ArrayRecord(held) for record, held in arrays.items()}})


def _arrays(content: RecordDict) -> dict[str, ArrayRecord]:
    return {name: record for name, record in content.items() if isinstance(record, ArrayRecord)}


def _checked(record: object) -> tuple[list[list[Any]], bytes]:
    """Return the lists that describe the arrays, and their bytes."""
    if not isinstance(record, ConfigRecord) or set(record) != {*_LISTS, _DATA}:
        raise MalformedMessage("packed arrays in another form")
    data = record[_DATA]
    lists: list[list[Any]] = []
    for name, kind in _LISTS.items():
        held = record[name]
        if not isinstance(held, list) or not all(type(item) is kind for item in held):
            raise MalformedMessage("packed arrays that are not described")
        lists.append(held)
    *_, sizes = lists
    fits = isinstance(data, bytes) and len(data) <= MOST_BYTES and min(sizes, default=0) >= 0
    if not fits or len({len(held) for held in lists}) != 1 or sum(sizes) != len(bytes(data)):  # type: ignore[arg-type]
        raise MalformedMessage("packed arrays that do not fit their description")
    return lists, bytes(data)  # type: ignore[arg-type]


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split(",") if text else []
    if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        raise MalformedMessage("a packed array of no shape")
    return tuple(map(int, parts))
