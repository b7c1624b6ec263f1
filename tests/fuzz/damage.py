"""Messages damaged in every way a wire or a liar can: bytes, values, records and arrays."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import strategies as st

from fl_app.secagg.canonical import MAX_DIGITS, Value, decode, encode
from fl_app.secagg.errors import MalformedMessage

NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([2**31, 2**61 - 1, 2**63, 2**64, 10**MAX_DIGITS - 1, -(10**30)]),
)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.floats(), st.text(max_size=12), st.binary(max_size=40)
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Return bytes unlike ``data``: flipped, cut, repeated, with a hole, or of another origin."""
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    match draw(st.sampled_from(["flip", "cut", "insert", "hole", "repeat", "other"])):
        case "flip":
            flipped = bytearray(data)
            if flipped:
                flipped[at] ^= draw(st.integers(1, 255))
            return bytes(flipped)
        case "cut":
            return data[:at]
        case "insert":
            return data[:at] + draw(st.binary(min_size=1, max_size=16)) + data[at:]
        case "hole":
            return data[:at] + data[at + draw(st.integers(1, 64)) :]
        case "repeat":
            return data[:at] + data[at : at + 200] * draw(st.integers(2, 20)) + data[at:]
    return draw(st.binary(max_size=200) | TREES.map(_encoded))


@st.composite
def damaged_message(draw: st.DrawFn, data: bytes) -> bytes:
    """Return canonical bytes of a message with one value in it changed, at whatever depth, or damaged bytes."""
    value = _message(data)
    if value is None or draw(st.integers(0, 9)) == 0:
        return draw(damaged_bytes(data))
    return _encoded(draw(_damaged_value(value)))


@st.composite
def _damaged_value(draw: st.DrawFn, value: Value) -> Value:
    if isinstance(value, bytes) and (inner := _message(value)) is not None and draw(st.integers(0, 19)):
        return _encoded(draw(_damaged_value(inner)))
    if isinstance(value, list) and value and draw(st.integers(0, 19)):
        return draw(_damaged_list(value))
    if isinstance(value, Mapping) and value and draw(st.integers(0, 19)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 19)) == 0:
            return {name: item for name, item in value.items() if name != key} | draw(
                st.dictionaries(st.text(max_size=3), LEAVES, max_size=1)
            )
        return {**value, key: draw(_damaged_value(value[key]))}
    return draw(_like(value) if draw(st.integers(0, 3)) else TREES)


def _like(value: Value) -> st.SearchStrategy[Any]:
    """Return other values of the same type, so that more is looked at than the type."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, int):
        return st.sampled_from([value + 1, value - 1]) | NUMBERS
    if isinstance(value, float):
        return st.floats()
    if isinstance(value, str):
        return st.sampled_from([f"pod-{letter}" for letter in "abcdx"]) | st.text(max_size=70)
    if isinstance(value, bytes):
        flipped = st.integers(0, max(len(value) - 1, 0)).map(lambda at: value[:at] + b"\x01" + value[at + 1 :])
        return flipped | damaged_bytes(value)
    return TREES


@st.composite
def _damaged_list(draw: st.DrawFn, value: list[Value]) -> Value:
    at = draw(st.integers(0, len(value) - 1))
    if len(value) == 3 and isinstance(value[2], Mapping) and draw(st.integers(0, 19)):  # a record: its fields
        return [*value[:2], draw(_damaged_value(value[2]))]
    match draw(st.sampled_from(["inside", "inside", "inside", "drop", "repeat", "swap"])):
        case "drop":
            return value[:at] + value[at + 1 :]
        case "repeat":
            return value[:at] + [value[at]] * draw(st.integers(2, 5)) + value[at + 1 :]
        case "swap":
            return value[at:] + value[:at]
    return [*value[:at], draw(_damaged_value(value[at])), *value[at + 1 :]]


@st.composite
def damaged_array(draw: st.DrawFn, array: Array) -> Array:
    """Return an array whose type, shape, serialisation or bytes are not what they say."""
    match draw(st.sampled_from(["bytes", "bytes", "other", "archive", "header", "dtype", "shape", "stype"])):
        case "bytes":
            return Array(array.dtype, tuple(array.shape), array.stype, draw(damaged_bytes(array.data)))
        case "other":
            kinds = ["<u8", "<u4", "<f8", "<f4", ">u8", "?", "<M8[s]", "S3", "<c16"]
            shape = draw(st.sampled_from([(), (0,), (1,), (10,), (2, 5), (100_000,)]))
            return Array(np.zeros(shape, np.dtype(draw(st.sampled_from(kinds)))))
        case "archive":
            np.savez(file := io.BytesIO(), vector=np.zeros(3))
            return Array(array.dtype, tuple(array.shape), array.stype, file.getvalue())
        case "header":
            count = draw(st.sampled_from([10**6, 10**9, 10**15, 2**62]))
            np.lib.format.write_array_header_1_0(
                file := io.BytesIO(), {"descr": "<u8", "fortran_order": False, "shape": (count,)}
            )
            return Array(array.dtype, (count,), array.stype, file.getvalue())
        case "dtype":
            return Array(draw(st.text(max_size=8)), tuple(array.shape), array.stype, array.data)
        case "shape":
            return Array(array.dtype, tuple(draw(st.lists(st.integers(0, 9), max_size=3))), array.stype, array.data)
    return Array(array.dtype, tuple(array.shape), draw(st.text(max_size=8)), array.data)


CONFIG_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.text(max_size=9), st.binary(max_size=40),
    st.lists(st.binary(max_size=20), max_size=3), st.lists(st.floats(), max_size=3),
)  # fmt: skip
RECORDS: st.SearchStrategy[Any] = st.one_of(
    st.dictionaries(st.text(max_size=9), CONFIG_VALUES, max_size=2).map(ConfigRecord),
    st.dictionaries(st.text(max_size=9), st.integers(0, 9) | st.floats(), max_size=2).map(MetricRecord),
    st.just(ArrayRecord({})),
    st.just(ArrayRecord({"w": Array(np.zeros(3))})),
)


@st.composite
def damaged_content(draw: st.DrawFn, content: RecordDict) -> RecordDict:
    """Return a Flower message's content with one or two things in it changed."""
    records: dict[str, Any] = dict(content)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        name = draw(st.sampled_from(sorted(records))) if records else ""
        record = records.get(name)
        what = draw(st.integers(0, 39))
        if what == 0:
            records.pop(name, None)
        elif what == 1:
            records[draw(st.sampled_from([*content, "more"]))] = draw(RECORDS)
        elif isinstance(record, ConfigRecord) and record:
            records[name] = draw(_damaged_config(record))
        elif isinstance(record, ArrayRecord) and record:
            key = draw(st.sampled_from(list(record)))
            renamed = draw(st.text(max_size=4)) if draw(st.integers(0, 9)) == 0 else key
            arrays = {k: v for k, v in record.items() if k != key}
            records[name] = ArrayRecord({**arrays, renamed: draw(damaged_array(record[key]))})
    return RecordDict(records)


@st.composite
def _damaged_config(draw: st.DrawFn, record: ConfigRecord) -> ConfigRecord:
    values: dict[str, Any] = dict(record)
    key = draw(st.sampled_from(sorted(values)))
    value = values[key]
    how = draw(st.integers(0, 39))
    if how == 0:
        values[draw(st.text(max_size=6))] = values.pop(key)
    elif how == 1:
        values[key] = draw(CONFIG_VALUES)
    elif how == 2:
        values[draw(st.text(max_size=6))] = draw(CONFIG_VALUES)
    elif isinstance(value, bytes):
        values[key] = draw(damaged_message(value) if _message(value) is not None else damaged_bytes(value))
    elif isinstance(value, list) and value and isinstance(value[0], bytes):
        at = draw(st.integers(0, len(value) - 1))
        values[key] = [*value[:at], draw(damaged_message(value[at])), *value[at + 1 :]]
    else:
        values[key] = draw(CONFIG_VALUES)
    return ConfigRecord(values)


def _message(data: bytes) -> Value | None:
    """Return what ``data`` are the canonical bytes of, if it is a message."""
    try:
        value = decode(data)
    except MalformedMessage:
        return None
    return value if isinstance(value, list) else None


def _encoded(value: Value) -> bytes:
    try:
        return encode(value)
    except MalformedMessage:  # nested too deep by now, or a number too long
        return b"l" + bytes(8)
