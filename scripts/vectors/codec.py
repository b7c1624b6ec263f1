"""The codec: encodings with their scales, sums with what they decode to, and what neither direction takes."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from fl_app.secagg.codec import Encoder, Layout, Segment, decode
from fl_app.secagg.field import FIELD_31, FIELD_61, field_of
from fl_app.secagg.keystream import BLOCK
from scripts.vectors.material import Vectors


def coded(segments: Sequence[Segment], weight: int, values: Mapping[str, Any], **layout: Any) -> Vectors:
    """Return one encoding as a vector."""
    field, pods, most = layout.get("field", FIELD_61), layout.get("pods", 2), layout.get("max_weight", 10)
    return {
        "prime_q": str(field.prime),
        "pods": pods,
        "max_weight": most,
        "segments": [{f.name: getattr(s, f.name) for f in fields(Segment)} for s in segments],
        "weight": weight,
        "values": {name: [str(v) if isinstance(v, float) else v for v in row] for name, row in values.items()},
    }


def layout_of(vector: Vectors) -> Layout:
    """Return the layout that a vector describes."""
    segments = [Segment(**segment) for segment in vector["segments"]]
    return Layout(field_of(int(vector["prime_q"])), vector["pods"], vector["max_weight"], segments)


def arrays_of(vector: Vectors) -> dict[str, Any]:
    """Return the values that a vector describes: reals are written as text, so that NaN and infinity can be."""
    return {
        name: np.array([float(v) if isinstance(v, str) else v for v in row]) for name, row in vector["values"].items()
    }


def encoded(vector: Vectors) -> list[int]:
    """Return the encoding of a vector's values."""
    layout = layout_of(vector)
    encoder, out = Encoder(layout, vector["weight"], arrays_of(vector)), np.empty(layout.length, np.int64)
    for block in range(layout.blocks):
        encoder.write(block, out[block * BLOCK : (block + 1) * BLOCK])
    return out.tolist()


def codec_vectors() -> Vectors:
    """Return encodings with their scales, sums with what they decode to, and what neither direction takes."""
    segments = [
        Segment("update", "update", 8.0, 6),
        Segment("loss", "mean", 64.0),
        Segment("s", "sum", 50.0),
        Segment("n", "count", 100, 2),
    ]
    values: dict[str, Any] = {
        "update": [0.0, -0.0, 1e-13, 0.1, -7.999999, 9.0],
        "loss": [0.6931],
        "s": [-49.5],
        "n": [0, 100],
    }
    small = [Segment("x", "sum", 1.0)]
    good = [
        coded(segments, 7, values),
        coded(segments, 10, values, pods=50),
        coded(segments, 0, values),
        coded(segments, 7, values, field=FIELD_31),
        coded([Segment("x", "update", 0.1, 2)], 1, {"x": [0.1, -5.0]}, max_weight=1, pods=3),
        coded([Segment("x", "sum", 1.0, 4)], 1, {"x": [2.0**-53, 3 * 2.0**-53, -(2.0**-53), 5 * 2.0**-53]}),
        coded([], 3, {}),
    ]
    bad = [
        ("not a number", "ValueRefused", coded(small, 1, {"x": [float("nan")]})),
        ("infinity", "ValueRefused", coded(small, 1, {"x": [float("inf")]})),
        ("an infinite update", "ValueRefused", coded([Segment("x", "update", 1.0)], 1, {"x": [float("-inf")]})),
        ("past its bound", "ValueRefused", coded(small, 1, {"x": [1.0000000000000002]})),
        ("a count past its bound", "ValueRefused", coded([Segment("x", "count", 5)], 1, {"x": [6]})),
        ("a negative count", "ValueRefused", coded([Segment("x", "count", 5)], 1, {"x": [-1]})),
        ("a count that is real", "ValueRefused", coded([Segment("x", "count", 5)], 1, {"x": [1.0]})),
        ("a real that is an integer", "ValueRefused", coded(small, 1, {"x": [1]})),
        ("too many elements", "ValueRefused", coded(small, 1, {"x": [0.0, 0.0]})),
        ("a name that was not declared", "ValueRefused", coded(small, 1, {"y": [0.0]})),
        ("a weight past the maximum", "ValueRefused", coded(small, 11, {"x": [0.0]})),
        ("a negative weight", "ValueRefused", coded(small, -1, {"x": [0.0]})),
        ("no weight at all", "ValueRefused", coded(small, 0, {"x": [0.0]}, max_weight=0)),
        ("two segments of one name", "ValueRefused", coded([*small, *small], 1, {"x": [0.0]})),
        ("no room", "CapacityError", coded([Segment("x", "sum", 2.0**51)], 1, {"x": [0.0]})),
        ("no room at 31 bits", "CapacityError", coded([Segment("x", "sum", 2.0**27)], 1, {"x": [0.0]}, field=FIELD_31)),
        ("no room for a count", "CapacityError", coded([Segment("x", "count", 2**52)], 1, {"x": [0]})),
    ]
    three = coded(segments, 7, values, pods=3)
    total = [3 * word for word in encoded(three)]
    spoiled = {
        "a roll call too few": [2, *total[1:]],
        "a roll call too many": [4, *total[1:]],
        "a weight past the maximum": [total[0], 31, *total[2:]],
        "a negative count": [*total[:-2], -1, total[-1]],
        "more clipped than there are": [*total[:-1], 19],
        "an update past the capacity": [*total[:2], 2**59, *total[3:]],
        "no weight at all": [total[0], 0, *total[2:]],
        "an element short": total[:-1],
    }
    aggregate = decode(layout_of(three), np.array(total, np.int64))
    return {
        "good": [
            {
                **vector,
                "scales": {name: scale.hex() for name, scale in layout_of(vector).scales.items()},
                "encoded": encoded(vector),
            }
            for vector in good
        ],
        "bad": [{"what": what, "error": error, **vector} for what, error, vector in bad],
        "sum": {
            **{key: three[key] for key in ("prime_q", "pods", "max_weight", "segments")},
            "total": total,
            "weight": aggregate.weight,
            "clipped": aggregate.clipped,
            "values": {name: [value.hex() if isinstance(value, float) else value for value in array.tolist()]
                       for name, array in aggregate.values.items()},
        },
        "bad_sums": [{"what": what, "total": words, "error": "AggregateRefused"} for what, words in spoiled.items()],
    }  # fmt: skip
