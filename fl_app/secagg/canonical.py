"""Canonical bytes: one encoding for every value that is signed, hashed or sent.

A value is None, bool, int, float, str, bytes, or a list or string-keyed dict of values. Each is written as a
one-byte tag and, where its length varies, an 8-byte big-endian length; dict keys are sorted. The encoding is
injective, and ``decode`` accepts exactly the bytes that ``encode`` writes, so equal digests mean equal values.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence

from fl_app.secagg.errors import MalformedMessage

Value = None | bool | int | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]

MAX_DEPTH = 16
MAX_DIGITS = 40
_LENGTH = struct.Struct(">Q")
_FLOAT = struct.Struct(">d")
# Plain types first, by which almost every value is known at once.
_BYTES = (bytes, bytearray, memoryview)
_MAPPINGS = (dict, Mapping)
_SEQUENCES = (list, tuple, Sequence)


def encode(value: Value) -> bytes:
    """Return the canonical bytes of ``value``; raises `MalformedMessage` for a type outside the list above."""
    out = bytearray()
    _write(value, out, 0)
    return bytes(out)


def decode(data: bytes) -> Value:
    """Return the value whose canonical bytes are ``data`` (lists come back as list, bytes as bytes).

    Raises
    ------
    MalformedMessage
        For anything ``encode`` would not have written, whatever the bytes.
    """
    value, end = _read(bytes(data), 0, 0)
    if end != len(data):
        raise MalformedMessage("malformed message: bytes after its end")
    return value


def digest(purpose: str, *parts: Value) -> bytes:
    """SHA-256 over the purpose string and the parts; purposes keep uses of the hash apart."""
    return hashlib.sha256(encode([purpose, *parts])).digest()


def _write(value: Value, out: bytearray, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise MalformedMessage(f"malformed message: nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        content = _utf8(value)
        out += b"s" + _LENGTH.pack(len(content)) + content
    elif isinstance(value, _BYTES):
        content = bytes(value)
        out += b"b" + _LENGTH.pack(len(content)) + content
    elif value is None:
        out += b"N"
    elif isinstance(value, bool):
        out += b"T" if value else b"F"
    elif isinstance(value, int):
        content = _digits(value)
        out += b"i" + _LENGTH.pack(len(content)) + content
    elif isinstance(value, float):
        out += b"f" + _FLOAT.pack(value)
    elif isinstance(value, _MAPPINGS):
        out += b"d" + _LENGTH.pack(len(value))
        if not all(isinstance(key, str) for key in value):
            raise MalformedMessage("malformed message: a key is not text")
        for key in sorted(value):
            content = _utf8(key)
            out += b"s" + _LENGTH.pack(len(content)) + content
            _write(value[key], out, depth + 1)
    elif isinstance(value, _SEQUENCES):
        out += b"l" + _LENGTH.pack(len(value))
        for item in value:
            _write(item, out, depth + 1)
    else:
        raise MalformedMessage(f"malformed message: cannot write a {type(value).__name__}")


def _digits(number: int) -> bytes:
    if abs(number) >= 10**MAX_DIGITS:
        raise MalformedMessage(f"malformed message: a number of more than {MAX_DIGITS} digits")
    return str(int(number)).encode()


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise MalformedMessage("malformed message: text that is not Unicode") from error


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size > len(data) - at:
        raise MalformedMessage("malformed message: it ends too early")
    return data[at : at + size], at + size


def _read_sized(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _read_length(data, at)
    return _take(data, at, size)


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    raw, at = _take(data, at, _LENGTH.size)
    return int(_LENGTH.unpack(raw)[0]), at


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    raw, at = _read_sized(data, at)
    try:
        return raw.decode(), at
    except UnicodeDecodeError as error:
        raise MalformedMessage("malformed message: text that is not UTF-8") from error


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    raw, at = _read_sized(data, at)
    if len(raw) > MAX_DIGITS + raw.startswith(b"-"):
        raise MalformedMessage(f"malformed message: a number of more than {MAX_DIGITS} digits")
    try:
        value = int(raw)
    except ValueError as error:
        raise MalformedMessage("malformed message: a number that is none") from error
    if str(value).encode() != raw:
        raise MalformedMessage("malformed message: a number not in canonical form")
    return value, at


def _read_dict(data: bytes, at: int, depth: int) -> tuple[dict[str, Value], int]:
    count, at = _read_length(data, at)
    result: dict[str, Value] = {}
    previous: str | None = None
    for _ in range(count):
        tag, at = _take(data, at, 1)
        if tag != b"s":
            raise MalformedMessage("malformed message: a key is not text")
        key, at = _read_text(data, at)
        if previous is not None and key <= previous:
            raise MalformedMessage("malformed message: keys repeated or out of order")
        result[key], at = _read(data, at, depth + 1)
        previous = key
    return result, at


def _read_list(data: bytes, at: int, depth: int) -> tuple[list[Value], int]:
    count, at = _read_length(data, at)
    items: list[Value] = []
    for _ in range(count):
        item, at = _read(data, at, depth + 1)
        items.append(item)
    return items, at


def _read(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth > MAX_DEPTH:
        raise MalformedMessage(f"malformed message: nested deeper than {MAX_DEPTH}")
    tag, at = _take(data, at, 1)
    match tag:
        case b"s":
            return _read_text(data, at)
        case b"b":
            return _read_sized(data, at)
        case b"i":
            return _read_int(data, at)
        case b"d":
            return _read_dict(data, at, depth)
        case b"l":
            return _read_list(data, at, depth)
        case b"f":
            raw, at = _take(data, at, _FLOAT.size)
            return float(_FLOAT.unpack(raw)[0]), at
        case b"T" | b"F":
            return tag == b"T", at
        case b"N":
            return None, at
    raise MalformedMessage("malformed message: an unknown tag")
