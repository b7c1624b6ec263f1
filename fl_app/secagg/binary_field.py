"""GF(2^128) on whole arrays: polynomials over GF(2) modulo x^128 + x^7 + x^2 + x + 1.

An array of elements is uint64 [2, ...]: the upper 64 coefficients of each, then the lower 64. On the wire an element is
16 bytes, big-endian. Nothing here branches on an element or looks anything up by one: arrays are shifted, masked and
added (which is XOR), the same for every value. Only `inverse` is for public elements alone.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Elements = npt.NDArray[np.uint64]

ELEMENT_BYTES = 16
BITS = 8 * ELEMENT_BYTES
_WORD, _GROUP = 64, 4
_POLYNOMIAL = (1 << BITS) | 0b10000111
_WIRE = np.dtype(">u8")


def elements_of(data: bytes, *shape: int) -> Elements:
    """Return the elements of which ``data`` is the bytes, one after another: uint64 [2, *shape]."""
    words = np.frombuffer(data, _WIRE).astype(np.uint64)
    return np.ascontiguousarray(np.moveaxis(words.reshape(*shape, 2), -1, 0))


def bytes_of(elements: Elements) -> bytes:
    """Return the bytes of elements, one after another in the order of their indices."""
    return np.moveaxis(elements, 0, -1).astype(_WIRE).tobytes()


def times_x(elements: Elements, power: int) -> Elements:
    """Return the elements times x^power, 1 <= power <= 56."""
    return _reduced(elements << np.uint64(power), elements >> np.uint64(_WORD - power))


def _reduced(left: Elements, carried: Elements) -> Elements:
    """Return elements shifted to the left; ``carried`` is what left each of their words, its upper 8 bits 0."""
    left[0] ^= carried[1]
    over = carried[0]  # times x^128, which is x^7 + x^2 + x + 1
    left[1] ^= over ^ (over << np.uint64(1)) ^ (over << np.uint64(2)) ^ (over << np.uint64(7))
    return left


class Points:
    """Elements of low degree as factors, public: small integers whose bits are coefficients.

    Parameters
    ----------
    points : sequence of int
        n of them, each below 2^56.
    """

    def __init__(self, points: Sequence[int]) -> None:
        values = np.array(points, np.uint64)
        bits = max(points).bit_length() or 1
        places = np.arange(bits, dtype=np.uint64)[:, None, None]
        # [bits, 1, n]: all ones where the point has that bit.
        self._masks = -((values >> places) & np.uint64(1))
        self._left, self._right = places[:, None], np.uint64(_WORD) - places[1:, None]

    def times(self, elements: Elements) -> Elements:
        """Return elements [2, m, n], each times the point of its last index."""
        masks = self._masks[:, None]
        left = np.bitwise_xor.reduce((elements << self._left) & masks, axis=0)
        return _reduced(left, np.bitwise_xor.reduce((elements >> self._right) & masks[1:], axis=0))


def weighted_sums(weights: npt.NDArray[np.bool_], elements: Elements) -> Elements:
    """Return the sums over h of elements [2, h, m], each times weight h: uint64 [2, m].

    ``weights`` [128, h] holds the coefficients of x^0 to x^127 in each weight; they are public.
    """
    # For each power of x the sum of the elements that it multiplies. Four elements have 16 sums, each made once.
    sums = np.zeros((2, BITS, elements.shape[2]), np.uint64)
    for at in range(0, elements.shape[1], _GROUP):
        group = elements[:, at : at + _GROUP]
        partial = np.zeros((2, 1, elements.shape[2]), np.uint64)
        for one in range(group.shape[1]):
            partial = np.concatenate([partial, partial ^ group[:, one : one + 1]], axis=1)
        sums ^= partial[:, weights[:, at : at + _GROUP] @ (1 << np.arange(group.shape[1]))]
    # Then all powers in pairs.
    for power in (1, 2, 4, 8, 16, 32):
        sums = sums[:, ::2] ^ times_x(sums[:, 1::2], power)
    return sums[:, 0] ^ times_x(times_x(sums[:, 1], 32), 32)


def product(one: int, other: int) -> int:
    """Return the product of two public elements, written as integers."""
    total = 0
    for place in reversed(range(BITS)):
        total <<= 1
        total ^= _POLYNOMIAL * (total >> BITS) ^ one * (other >> place & 1)
    return total


def inverse(element: int) -> int:
    """Return the inverse of a public element that is not 0, by Euclid's algorithm on polynomials."""
    one, other, factor, other_factor = element, _POLYNOMIAL, 1, 0
    while one != 1:
        shift = one.bit_length() - other.bit_length()
        if shift < 0:
            one, other, factor, other_factor, shift = other, one, other_factor, factor, -shift
        one ^= other << shift
        factor ^= other_factor << shift
    return factor
