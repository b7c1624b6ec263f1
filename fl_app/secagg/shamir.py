"""Self-mask seeds: 32 bytes, split so that any t pods of the roster can open it together.

Shamir's scheme (1979) over GF(2^128), by pycryptodome, on the two halves of the seed. The holder's index is its place
in the roster, counted from 1. A digest published with the split tells a wrong reconstruction.

A secret is a sum of its shares times coefficients that depend on the holders alone (Lagrange's, at 0). The server puts
together one seed for each pod from the same holders, so it has pycryptodome work out the coefficients once.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache

from Crypto.Protocol.SecretSharing import Shamir

from fl_app.secagg.canonical import digest
from fl_app.secagg.errors import AggregateRefused

_HALF = 16
_BITS = 8 * _HALF
_POLYNOMIAL = (1 << _BITS) + 0b10000111  # x^128 + x^7 + x^2 + x + 1
_ATTEMPTS = 64


def commitment(seed: bytes) -> bytes:
    """Return the digest that a pod publishes of its self-mask seed."""
    return digest("fl-app/secagg/1/self-mask", seed)


def split(seed: bytes, threshold: int, holders: int) -> list[bytes]:
    """Return one 32-byte share of ``seed`` for each holder; any ``threshold`` of them give it back."""
    halves = [Shamir.split(threshold, holders, half, ssss=False) for half in (seed[:_HALF], seed[_HALF:])]
    return [b"".join(share for _, share in pair) for pair in zip(*halves, strict=True)]


def combine(shares: Mapping[int, bytes], threshold: int, expected: bytes, who: str) -> bytes:
    """Return the seed of pod ``who`` from shares by holder's index (from 1).

    Raises
    ------
    AggregateRefused
        If there are too few shares, or none of the combinations tried gives a seed with the ``expected`` commitment.
    """
    if len(shares) < threshold:
        raise AggregateRefused(f"{len(shares)} shares of pod '{who}' came, {threshold} are needed")
    # A pod may open a share that it made up: another combination does without it. The number of tries is bounded: with
    # many liars there are too many combinations, and such a sum is given up.
    for chosen in itertools.islice(itertools.combinations(sorted(shares), threshold), _ATTEMPTS):
        seed = b"".join(
            _secret(chosen, [shares[index][part : part + _HALF] for index in chosen]) for part in (0, _HALF)
        )
        if commitment(seed) == expected:
            return seed
    raise AggregateRefused(f"the shares of pod '{who}' do not give back what it committed to")


def _secret(holders: tuple[int, ...], shares: Sequence[bytes]) -> bytes:
    """Return the secret of 16 bytes of which these are the holders' shares."""
    secret = 0
    for multiples, share in zip(_coefficients(holders), shares, strict=True):
        bits = int.from_bytes(share, "big")
        for place, multiple in enumerate(multiples):
            if bits >> place & 1:
                secret ^= multiple
    return secret.to_bytes(_HALF, "big")


@lru_cache(maxsize=16)
def _coefficients(holders: tuple[int, ...]) -> list[list[int]]:
    """Return for each holder its coefficient times x^0 to x^127, as elements of the field."""
    coefficients = []
    for one in holders:
        unit = [(holder, int(holder == one).to_bytes(_HALF, "big")) for holder in holders]
        multiples = [int.from_bytes(Shamir.combine(unit, ssss=False), "big")]
        while len(multiples) < _BITS:
            doubled = multiples[-1] << 1
            multiples.append(doubled ^ _POLYNOMIAL if doubled >> _BITS else doubled)
        coefficients.append(multiples)
    return coefficients
