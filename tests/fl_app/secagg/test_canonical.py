import hashlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg.canonical import MAX_DEPTH, MAX_DIGITS, decode, digest, encode
from fl_app.secagg.errors import MalformedMessage, ProtocolError

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**MAX_DIGITS) + 1, 10**MAX_DIGITS - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)


def exact(value: Any) -> Any:
    """Return what tells values apart that Python calls equal: 1, 1.0 and True; 0.0 and -0.0."""
    match value:
        case dict():
            return "dict", tuple(sorted((key, exact(item)) for key, item in value.items()))
        case list():
            return "list", tuple(exact(item) for item in value)
        case float():
            return "float", struct.pack(">d", value)
    return type(value).__name__, repr(value)


@given(values)
def test_decode_gives_back_what_was_encoded(value: Any) -> None:
    assert exact(decode(encode(value))) == exact(value)


@given(values, values)
def test_different_values_have_different_bytes(one: Any, other: Any) -> None:
    assert (encode(one) == encode(other)) == (exact(one) == exact(other))


LOOKALIKES: list[Any] = [
    1, 1.0, True, "1", b"1", [1], {"1": 1}, 0, 0.0, -0.0, False, None, "", b"", [], {}, [[]], [None], [[], []],
    ["ab"], ["a", "b"], [b"ab"], "ab", {"a": "b"}, {"ab": ""}, ["a", ["b"]], [["a"], "b"],
]  # fmt: skip


def test_lookalikes_are_told_apart() -> None:
    assert len({encode(value) for value in LOOKALIKES}) == len(LOOKALIKES)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_decode_or_raise_our_error(data: bytes) -> None:
    try:
        value = decode(data)
    except ProtocolError:
        return
    assert encode(value) == data


@given(values, st.data())
def test_damaged_bytes_decode_to_another_value_or_raise_our_error(value: Any, data: st.DataObject) -> None:
    good = encode(value)
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = bytearray(good)
    damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        value = decode(bytes(damaged))
    except ProtocolError:
        return
    assert encode(value) == bytes(damaged)


@given(values, st.integers(1, 5))
def test_what_is_cut_short_or_too_long_is_refused(value: Any, by: int) -> None:
    good = encode(value)
    for bad in (good[:-by] if by < len(good) else b"", good + bytes(by)):
        with pytest.raises(MalformedMessage):
            decode(bad)


def test_a_tuple_is_written_as_a_list_and_the_order_of_keys_does_not_matter() -> None:
    assert encode((1, ("a",))) == encode([1, ["a"]])
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1})


@pytest.mark.parametrize(
    "value",
    [{1}, object(), np.int64(1), np.zeros(2), 1j, {1: "a"}, {"a": 1, 2: "b"}, {None: 1}, "\ud800", {"\udfff": 1}],
    ids=lambda value: "object" if type(value) is object else repr(value),
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(MalformedMessage):
        encode(value)


def test_numbers_are_written_only_as_far_as_they_are_read() -> None:
    for number in (10**MAX_DIGITS - 1, -(10**MAX_DIGITS) + 1):
        assert decode(encode(number)) == number
    for number in (10**MAX_DIGITS, -(10**MAX_DIGITS), 10**5000):
        with pytest.raises(MalformedMessage, match="digits"):
            encode(number)


def test_nesting_has_an_end_in_both_directions() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert decode(encode(value)) == value
    with pytest.raises(MalformedMessage, match="nested"):
        encode([value])
    with pytest.raises(MalformedMessage, match="nested"):
        decode((b"l" + struct.pack(">Q", 1)) * 100_000 + b"N")


@pytest.mark.parametrize("tag", [b"l", b"d", b"s", b"b", b"i"])
def test_a_length_beyond_the_bytes_is_refused_at_once(tag: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(tag + struct.pack(">Q", 2**64 - 1) + b"N" * 10)


def test_a_digest_binds_its_purpose_and_how_its_parts_are_cut() -> None:
    assert digest("p", "a", "b") == hashlib.sha256(encode(["p", "a", "b"])).digest()
    seen = {digest("p", "a", "b"), digest("p", "ab"), digest("p", "a", "b", ""), digest("pa", "b"), digest("q", "a")}
    assert len(seen) == 5
