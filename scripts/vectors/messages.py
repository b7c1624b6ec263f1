"""Canonical bytes and messages, both ways, and bytes that are neither."""

import struct
from typing import Any

from fl_app.secagg import canonical
from fl_app.secagg.messages import Proof, Record, SealedShare
from scripts.vectors.material import CLASSES, PARAMETERS, SESSION, STEP, Vectors, constant, hello, tagged


def sized(tag: bytes, content: bytes) -> bytes:
    """Return a tag, an 8-byte length and the content, as canonical bytes hold them."""
    return tag + struct.pack(">Q", len(content)) + content


def canonical_vectors() -> Vectors:
    """Return values with their canonical bytes, and bytes that no value has."""
    values: list[Any] = [
        None, True, False, 0, 1, -1, 2**61 - 1, -(2**64), 10**40 - 1, 0.0, -0.0, 1.5, -1e308, float("inf"), "", "a",
        "Größe 模型 🙂", b"", b"\x00\xff", [], [[]], ["ab"], ["a", "b"], [1, 1.0, "1", b"1", True, None], {}, {"a": 1},
        {"b": [], "a": {"c": None}}, {"": 0, "é": 1, "z": 2},
    ]  # fmt: skip
    one, key = sized(b"i", b"1"), sized(b"s", b"a")
    pair = b"d" + struct.pack(">Q", 2)
    bad = {
        "nothing": b"",
        "an unknown tag": b"x",
        "bytes after the end": b"NN",
        "a length cut short": b"s" + bytes(7),
        "a content cut short": sized(b"s", b"abc")[:-1],
        "a length beyond the bytes": b"b" + b"\xff" * 8,
        "more items than there are": b"l" + struct.pack(">Q", 2) + one,
        "a number with a leading zero": sized(b"i", b"01"),
        "a number with a sign": sized(b"i", b"+1"),
        "minus zero": sized(b"i", b"-0"),
        "a number with a space": sized(b"i", b" 1"),
        "a number with an underscore": sized(b"i", b"1_0"),
        "a number of no digits": sized(b"i", b""),
        "a number of 41 digits": sized(b"i", b"1" * 41),
        "text that is not UTF-8": sized(b"s", b"\xff"),
        "text with half a surrogate pair": sized(b"s", b"\xed\xa0\x80"),
        "text in an overlong form": sized(b"s", b"\xc0\x80"),
        "a key that is not text": b"d" + struct.pack(">Q", 1) + one + one,
        "keys out of order": pair + sized(b"s", b"b") + one + key + one,
        "a key twice": pair + key + one + key + one,
        "nested deeper than 16": (b"l" + struct.pack(">Q", 1)) * 17 + b"N",
        "a float cut short": b"f" + bytes(7),
    }
    return {
        "good": [{"value": tagged(value), "bytes": canonical.encode(value).hex()} for value in values],
        "bad": [{"what": what, "bytes": raw.hex(), "error": "MalformedMessage"} for what, raw in bad.items()],
    }


def message_vectors() -> Vectors:
    """Return messages with their bytes, and bytes that are none."""
    share = SealedShare(SESSION, "a", "b", constant("sealed", 80), constant("signature", 64))
    proof = Proof(constant("label"), ("a", "c"))
    good: list[Record] = [CLASSES[0], PARAMETERS.steps[0], PARAMETERS, hello("a"), share, STEP, proof]

    def written(name: str = "Step", version: int = 1, **changes: Any) -> bytes:
        content = {"session": SESSION, "kind": "train", "round": 1, "names": ["x"], "sizes": [1]} | changes
        return canonical.encode([name, version, {k: v for k, v in content.items() if v is not ...}])

    bad = {
        "nothing": b"",
        "not canonical": STEP.to_bytes() + b"N",
        "another message": written("Other"),
        "another version": written(version=2),
        "no list": canonical.encode({"session": SESSION}),
        "a field missing": written(sizes=...),
        "a field more": written(more=1),
        "a field of another type": written(round="1"),
        "a flag for a number": written(round=True),
        "a real for an integer": written(round=1.0),
        "text for a list": written(names="x"),
        "a list of another type": written(sizes=["1"]),
        "a session of 31 bytes": written(session=SESSION[:31]),
    }
    return {
        "good": [
            {
                "message": type(m).__name__,
                "bytes": m.to_bytes().hex(),
                "fields": tagged(canonical.decode(m.to_bytes())[2]),  # type: ignore[index]
            }
            for m in good
        ],
        "parameters_digest": PARAMETERS.digest().hex(),
        "bad": [
            {"what": what, "message": "Step", "bytes": raw.hex(), "error": "MalformedMessage"}
            for what, raw in bad.items()
        ],
    }  # fmt: skip
