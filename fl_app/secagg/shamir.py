"""Self-mask seeds: 32 bytes, split so that any t pods of the roster can open it together.

Shamir's scheme (1979) over GF(2^128) on the two halves of the seed: each is the constant term of a polynomial of degree
t - 1 whose other coefficients are random, and a holder's share is its value at the holder's index, which is its place
in the roster, counted from 1. A digest published with the split tells a wrong reconstruction.

Splitting handles a secret: its time depends on t and the number of holders alone. A secret is a sum of its shares times
weights that depend on the holders alone (Lagrange's, at 0). The server puts together one seed for each pod from the
same holders, so it works the weights out once, and sums for all pods at a time.
"""

import itertools
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fl_app.secagg.binary_field import (
    BITS,
    ELEMENT_BYTES,
    Points,
    bytes_of,
    elements_of,
    inverse,
    product,
    weighted_sums,
)
from fl_app.secagg.canonical import digest
from fl_app.secagg.errors import AggregateRefused
from fl_app.secagg.keystream import SEED_BYTES

_HALVES = SEED_BYTES // ELEMENT_BYTES
_ATTEMPTS = 64


def commitment(seed: bytes) -> bytes:
    """Return the digest that a pod publishes of its self-mask seed."""
    return digest("fl-app/secagg/1/self-mask", seed)


def split(seed: bytes, threshold: int, holders: int) -> list[bytes]:
    """Return one 32-byte share of ``seed`` for each holder; any ``threshold`` of them give it back."""
    random = elements_of(secrets.token_bytes((threshold - 1) * SEED_BYTES), threshold - 1, _HALVES)
    points, secret = _points(holders), elements_of(seed, _HALVES)
    values = np.zeros((2, _HALVES, holders), np.uint64)
    for power in range(threshold - 1):  # Horner's rule, at all points at once
        values = points.times(values ^ random[:, power, :, None])
    values ^= secret[:, :, None]
    shares = bytes_of(np.swapaxes(values, 1, 2))
    return [shares[at : at + SEED_BYTES] for at in range(0, len(shares), SEED_BYTES)]


def combine(shares: Mapping[int, Sequence[bytes]], threshold: int, expected: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the seeds of several pods.

    Parameters
    ----------
    shares : mapping of int to bytes
        By holder's index (from 1), the holder's 32-byte shares of each pod's seed, in the order of ``expected``.
    threshold : int
        Holders that are needed.
    expected : mapping of str to bytes
        The `commitment` of each pod.

    Raises
    ------
    AggregateRefused
        If there are too few holders, if a share is not 32 bytes long, or if for some pod none of the combinations
        tried gives a seed with its commitment.
    """
    if len(shares) < threshold:
        raise AggregateRefused(f"shares came of {len(shares)} pods, those of {threshold} are needed")
    left, seeds = dict(enumerate(expected)), dict[str, bytes]()
    # A pod may open a share that it made up: another combination does without it. The number of tries is bounded: with
    # many liars there are too many combinations, and such a sum is given up.
    for chosen in itertools.islice(itertools.combinations(sorted(shares), threshold), _ATTEMPTS):
        found = _secrets(chosen, [[shares[holder][place] for place in left] for holder in chosen])
        for (place, name), seed in zip(list(left.items()), found, strict=True):
            if commitment(seed) == expected[name]:
                seeds[name] = seed
                del left[place]
        if not left:
            return {name: seeds[name] for name in expected}
    raise AggregateRefused(f"the shares of pod '{next(iter(left.values()))}' do not give back what it committed to")


def _secrets(holders: tuple[int, ...], shares: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the secrets of which these are the holders' shares, [holder][secret]."""
    if any(len(share) != SEED_BYTES for of_holder in shares for share in of_holder):
        raise AggregateRefused(f"a share of a self mask is not {SEED_BYTES} bytes long")
    given = b"".join(itertools.chain.from_iterable(shares))
    sums = bytes_of(weighted_sums(_weights(holders), elements_of(given, len(holders), len(shares[0]) * _HALVES)))
    return [sums[at : at + SEED_BYTES] for at in range(0, len(sums), SEED_BYTES)]


@lru_cache(maxsize=4)
def _points(holders: int) -> Points:
    return Points(range(1, holders + 1))


@lru_cache(maxsize=16)
def _weights(holders: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return Lagrange's weights at 0: for each holder the coefficients of x^0 to x^127, bool [128, holders].

    The weight of holder h is the product over all others i of i / (i - h), where a difference is a XOR.
    """
    ends = (0, *holders)
    one = np.zeros((2, 1, len(ends)), np.uint64)
    one[1] = 1
    for other in holders:
        one = Points([(other ^ end) or 1 for end in ends]).times(one)
    numerator, *denominators = _integers(one)
    written = b"".join(
        product(numerator, inverse(product(holder, denominator))).to_bytes(ELEMENT_BYTES, "little")
        for holder, denominator in zip(holders, denominators, strict=True)
    )
    bits = np.unpackbits(np.frombuffer(written, np.uint8), bitorder="little")
    return np.ascontiguousarray(bits.reshape(len(holders), BITS).T.astype(bool))


def _integers(elements: npt.NDArray[np.uint64]) -> list[int]:
    data = bytes_of(elements)
    return [int.from_bytes(data[at : at + ELEMENT_BYTES], "big") for at in range(0, len(data), ELEMENT_BYTES)]
