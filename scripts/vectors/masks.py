"""Masks: elements by seed and index, keys by derivation, whole masked vectors."""

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fl_app.secagg import canonical
from fl_app.secagg.binding import OWN_KEY, PAIR_KEY, PAIR_SEED, SELF_SHARE, label
from fl_app.secagg.codec import Encoder, Segment
from fl_app.secagg.field import FIELD_31, FIELD_61, Field
from fl_app.secagg.keystream import BLOCK, MaskStream, derive, keystream, word_buffer
from fl_app.secagg.masking import mask
from scripts.vectors.codec import arrays_of, coded, layout_of
from scripts.vectors.material import REQUEST, ROSTER, STEP, Vectors, constant, tagged


def expanded(seed: bytes, field: Field, start: int, count: int) -> list[str]:
    """Return ``count`` mask elements from ``start`` on, as text."""
    stream, places = MaskStream(seed, field), [divmod(index, BLOCK) for index in range(start, start + count)]
    return [str(stream.read(block, word_buffer(field), at + 1)[-1]) for block, at in places]


def first_bytes(seed: bytes) -> str:
    """Return the first 16 bytes of stream 0, as hexadecimal text."""
    out = bytearray(32)
    keystream(seed, 0)(0, 16, memoryview(out))
    return out[:16].hex()


def redrawn(field: Field, streams: Sequence[Sequence[int]]) -> list[str]:
    """Return the elements that streams of these words give, by the rule itself: word k of the first that is not q."""
    words = [[word & field.prime for word in stream] for stream in streams]
    return [str(next(w for w in column if w != field.prime)) for column in zip(*words, strict=True)]


def expander_vectors() -> Vectors:
    """Return mask elements by seed and index; then by injected streams in which q itself occurs."""
    good, injected = [], []
    seeds = {"zeros": bytes(32), "seed": constant("seed")}
    for field in (FIELD_61, FIELD_31):
        for seed in seeds.values():
            for start in (0, 4, BLOCK - 4, 3 * BLOCK):
                good.append((field, seed, start, 8))
        q, full = field.prime, (1 << 8 * field.dtype.itemsize) - 1
        streams = [[1, q, 3, full, q - 1, q, 0, 8], [9, 20, 9, q, 9, full, 9, 9], [9, 9, 9, 40, 9, 60, 9, 9]]
        raw = [b"".join(word.to_bytes(field.dtype.itemsize, "little") for word in stream) for stream in streams]
        injected.append(
            {
                "prime_q": str(q),
                "streams": [stream.hex() for stream in raw],
                "elements": redrawn(field, streams),
            }
        )
    # A redraw that happens by itself, found by search among 2^32 words.
    good.append((FIELD_31, hashlib.sha256(b"fl-app redraw 32").digest(), 927 * BLOCK + 7376, 8))
    return {
        "good": [
            {"prime_q": str(f.prime), "seed": seed.hex(), "start": start, "elements": expanded(seed, f, start, count)}
            for f, seed, start, count in good
        ],
        "injected": injected,
        "bad": [
            {"what": "a prime that is not supported", "prime_q": str(2**31), "error": "UnsupportedField"},
            {"what": "a prime that is not supported", "prime_q": str(2**89 - 1), "error": "UnsupportedField"},
            {"what": "a prime that is not supported", "prime_q": "0", "error": "UnsupportedField"},
        ],
    }


def key_vectors() -> Vectors:
    """Return HKDF outputs, and the way from two share seeds to a mask."""
    derived: list[tuple[bytes, str, list[canonical.Value], bytes | None]] = [
        (constant("secret"), "purpose", [], None),
        (constant("secret"), "purpose", [], constant("salt")),
        (constant("secret"), "purpose", ["context", 1, b"bytes"], None),
        (b"", "", [], None),
    ]
    first, second = ROSTER.names[0], ROSTER.names[1]
    shares = {name: constant(f"share of {name}") for name in (first, second)}
    bound, seed_share, own = label(ROSTER, STEP, REQUEST), constant("share of a self mask"), constant("sealing secret")
    pair_key = derive(shares[first] + shares[second], PAIR_KEY, first, second, salt=ROSTER.digest)
    pair_seed = derive(pair_key, PAIR_SEED, bound)
    box_key = derive(pair_key, SELF_SHARE, bound, [first, second])
    return {
        "derive": [
            {
                "secret": secret.hex(),
                "purpose": purpose,
                "context": tagged(context),
                "salt": None if salt is None else salt.hex(),
                "key": derive(secret, purpose, *context, salt=salt).hex(),
            }
            for secret, purpose, context, salt in derived
        ],
        "pair": {
            "roster": ROSTER.digest.hex(),
            "first": first,
            "second": second,
            "share_of_first": shares[first].hex(),
            "share_of_second": shares[second].hex(),
            "pair_key": pair_key.hex(),
            "label": bound.hex(),
            "pair_seed": pair_seed.hex(),
            "first_bytes_of_stream_0": first_bytes(pair_seed),
            "mask": expanded(pair_seed, FIELD_61, 0, 4),
            "box_key_from_first_to_second": box_key.hex(),
            "box": (constant("nonce")[:12] + AESGCM(box_key).encrypt(constant("nonce")[:12], seed_share, None)).hex(),
            "in_box": seed_share.hex(),
            "sealing_secret_of_first": own.hex(),
            "own_key_of_first": derive(own, OWN_KEY, salt=ROSTER.digest).hex(),
        },
    }


def masking_vectors() -> Vectors:
    """Return whole masked vectors."""
    segments, values = [Segment("update", "update", 8.0, 3)], {"update": [1.0, -2.5, 9.0]}
    seeds = [constant(f"pair seed {number}") for number in range(9)]
    vectors = []
    for field in (FIELD_61, FIELD_31):
        for add, subtract in ((seeds[:1], []), ([], seeds[:1]), (seeds[:7], seeds[7:])):
            vector = coded(segments, 7, values, field=field, pods=len(add) + len(subtract) + 1)
            layout = layout_of(vector)
            words = mask(layout, Encoder(layout, 7, arrays_of(vector)), add, subtract)
            vector |= {"add": [s.hex() for s in add], "subtract": [s.hex() for s in subtract]}
            vectors.append({**vector, "masked": [str(word) for word in words.tolist()]})
    return {"good": vectors}
