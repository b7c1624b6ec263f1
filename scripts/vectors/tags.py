"""Verified sums: from group shares to tags, and from a sum with its proof to the values."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fl_app.secagg.binding import group_commitment, group_key, label, tag_key
from fl_app.secagg.codec import Encoder, Layout
from fl_app.secagg.field import FIELD_31, FIELD_61, Field
from fl_app.secagg.keystream import derive, expand
from fl_app.secagg.mask_pipeline import spans
from fl_app.secagg.masking import Sum, mask
from fl_app.secagg.messages import Proof
from fl_app.secagg.tags import ROW, LinearForm, Tag, first_coefficients, pads, tag_elements
from fl_app.secagg.verified_sum import Pending, check_sum
from scripts.vectors.material import CLASSES, PARAMETERS, REQUEST, ROSTER, SESSION, STEP, Vectors, constant

FOLLOWED = constant("followed")
SHARES = {name: constant(f"group share of {name}") for name in ROSTER.names}
LABEL = label(ROSTER, STEP, REQUEST, FOLLOWED)
KEY = tag_key(group_key(ROSTER, SHARES), LABEL)


def tag_vectors() -> Vectors:
    """Return keys, coefficients, forms of sparse vectors, and sums that a pod takes or refuses."""
    return {
        "keys": {
            "roster": ROSTER.digest.hex(),
            "session": SESSION.hex(),
            "names": list(ROSTER.names),
            "shares": {name: share.hex() for name, share in SHARES.items()},
            "commitments": {name: group_commitment(SESSION, name, share).hex() for name, share in SHARES.items()},
            "group_key": group_key(ROSTER, SHARES).hex(),
            "step": STEP.to_bytes().hex(),
            "request": REQUEST.hex(),
            "followed": FOLLOWED.hex(),
            "label": LABEL.hex(),
            "tag_key": KEY.hex(),
        },
        "first_coefficients": [[int(c) for c in column[:8]] for column in first_coefficients(KEY).T],
        "fields": [_coefficients(field) for field in (FIELD_61, FIELD_31)],
        "forms": [_form(field, length, elements) for field in (FIELD_61, FIELD_31) for length, elements in _SPARSE],
        "sums": [_sum(field) for field in (FIELD_61, FIELD_31)],
    }


def _coefficients(field: Field) -> Vectors:
    return {
        "prime_q": str(field.prime),
        "elements_of_a_tag": tag_elements(field),
        "second_coefficients": [str(c) for c in expand(derive(KEY, "fl-app/secagg/1/tag-second"), field, 8).tolist()],
        "pads": {name: [str(pad) for pad in pads(field, KEY, [name])] for name in ROSTER.names},
    }


_SPARSE: list[tuple[int, dict[int, int]]] = [
    (1, {0: 1}),
    (9, {0: 1, 1: -7, 8: 1 << 52}),
    (ROW + 1, {0: 1, ROW - 1: -(1 << 52), ROW: 3}),
    (5 * 8 * ROW, {0: 1, 8 * ROW - 1: (1 << 26) + 1, 8 * ROW: 1, 5 * 8 * ROW - 1: (1 << 25) - (1 << 51)}),
]


def _form(field: Field, length: int, elements: dict[int, int]) -> Vectors:
    """Return H of a vector that is 0 but for a few elements."""
    layout, vector = _layout(field), np.zeros(length, np.int64)
    layout.length = length
    vector[list(elements)] = list(elements.values())
    form = LinearForm(layout, KEY)
    for block, at in spans(length):
        form.read(block, vector[at])
    return {
        "prime_q": str(field.prime),
        "length": length,
        "elements": {str(place): str(element) for place, element in elements.items()},
        "form": [str(value) for value in form.value()],
    }


def _layout(field: Field) -> Layout:
    return Layout(field, len(ROSTER.names), 20, STEP.segments(PARAMETERS.steps[0]), tag_elements(field))


def _sum(field: Field) -> Vectors:
    """Return a sum of two pods of the roster with its proof, and others that are refused."""
    layout, survivors = _layout(field), (ROSTER.names[0], ROSTER.names[2])
    values = {"update": [0.5, -1.25, 9.0, 0.0], "loss": [0.7], "n": [3, 4]}
    total = Sum(field, layout.length)
    for weight, name in enumerate(survivors, start=7):
        encoder = Encoder(layout, weight, {key: np.array(row) for key, row in values.items()})
        total.add(mask(layout, encoder, [], [], Tag(layout, KEY, name)))
    words = total.words().tolist()
    pending = Pending(LABEL, KEY, field.prime, 20, CLASSES, STEP.sizes, "train", 1, ROSTER.names, 2)
    proof = Proof(LABEL, survivors)
    result = check_sum(pending, proof, np.array(words, field.dtype))
    more = [words[0], words[1], words[2] + 1, *words[3:]]
    bad: list[tuple[str, Proof, Sequence[int]]] = [
        ("one more", proof, more),
        ("one more in the tag", proof, [*words[:-1], (words[-1] + 1) % field.prime]),
        ("a word too large", proof, [words[0], words[1] + field.prime, *words[2:]]),
        ("a word too few", proof, words[:-1]),
        ("another step", replace(proof, label=bytes(32)), words),
        ("other survivors", replace(proof, survivors=ROSTER.names[:2]), words),
        ("all survivors", replace(proof, survivors=ROSTER.names), words),
        ("survivors out of order", replace(proof, survivors=survivors[::-1]), words),
        ("too few survivors", replace(proof, survivors=survivors[:1]), words),
        ("twice the sum", proof, [2 * word % field.prime for word in words]),
    ]
    return {
        "prime_q": str(field.prime),
        "pending": pending.to_bytes().hex(),
        "proof": proof.to_bytes().hex(),
        "words": [str(word) for word in words],
        "weight": result.weight,
        "clipped": result.clipped,
        "values": {
            name: [v.hex() if isinstance(v, float) else v for v in row.tolist()] for name, row in result.values.items()
        },
        "bad": [
            {"what": what, "proof": shown.to_bytes().hex(), "words": [str(w) for w in other], "error": "SumRefused"}
            for what, shown, other in bad
        ],
    }
