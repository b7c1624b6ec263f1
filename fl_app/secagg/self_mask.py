"""Self-mask seeds: 32 bytes, split so that any t pods of the roster can open it together.

Shamir's scheme (1979) over GF(2^128), by pycryptodome, on the two halves of the seed. The holder's index is its place
in the roster, counted from 1. A digest published with the split tells a wrong reconstruction.
"""

import itertools
from collections.abc import Mapping

from Crypto.Protocol.SecretSharing import Shamir

from fl_app.secagg.canonical import digest
from fl_app.secagg.errors import AggregateRefused

_HALF = 16
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
    for chosen in itertools.islice(itertools.combinations(sorted(shares), threshold), _ATTEMPTS):
        halves = [
            Shamir.combine([(index, shares[index][part : part + _HALF]) for index in chosen], ssss=False)
            for part in (0, _HALF)
        ]
        seed = b"".join(halves)
        if commitment(seed) == expected:
            return seed
    raise AggregateRefused(f"the shares of pod '{who}' do not give back what it committed to")
