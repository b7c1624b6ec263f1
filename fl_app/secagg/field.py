"""The two prime fields, and arithmetic on whole blocks of their elements.

Both primes are Mersenne primes q = 2^b - 1, so 2^b = 1 (mod q) and a reduction is a shift, a mask and an addition
("fold"). Blocks are accumulated as int64 and folded only when the next addition could overflow;
sums of which nothing is subtracted are accumulated as uint64, which lasts longer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_app.secagg.errors import UnsupportedField

Int64 = npt.NDArray[np.int64]
Words = npt.NDArray[Any]  # uint64 for 2^61-1, uint32 for 2^31-1


@dataclass(frozen=True)
class Field:
    """The integers modulo the Mersenne prime 2^bits - 1.

    Attributes
    ----------
    bits : int
        61 or 31.
    dtype : numpy dtype
        Little-endian unsigned word that carries one element on the wire: 8 or 4 bytes.
    headroom : int
        Bits that must stay free above the largest possible sum.
    """

    bits: int
    dtype: np.dtype[Any]
    headroom: int

    @property
    def prime(self) -> int:
        """The order q of the field."""
        return (1 << self.bits) - 1

    @property
    def adds_between_folds(self) -> int:
        """How many elements of one sign may be added to a folded int64 block before it must be folded again.

        A folded element is at most q + 3; three more, each at most q - 1, stay below 2^63 at 61 bits.
        """
        return 3 if self.bits == 61 else 1 << 24

    @property
    def unsigned_adds_between_folds(self) -> int:
        """The same for a uint64 block to which elements are added only.

        A folded element is at most q + 7; seven more, each at most q - 1, stay below 2^64 at 61 bits.
        """
        return 7 if self.bits == 61 else 1 << 24

    def fold(self, block: npt.NDArray[Any], scratch: npt.NDArray[Any]) -> None:
        """Reduce ``block`` in place, keeping it congruent: int64 to [-4, q + 3], uint64 to [0, q + 7] at 61 bits.

        ``scratch`` has its shape and dtype.
        """
        np.right_shift(block, self.bits, out=scratch)
        np.bitwise_and(block, self.prime, out=block)
        np.add(block, scratch, out=block)

    def canonicalise(self, block: npt.NDArray[Any], scratch: npt.NDArray[Any], out: Words | None = None) -> None:
        """Reduce ``block`` (int64 or uint64) to [0, q), in place or, leaving no more use in it, to ``out``."""
        target = block if out is None else out
        np.right_shift(block, self.bits, out=scratch)
        np.bitwise_and(block, self.prime, out=block)
        np.add(block, scratch, out=_as(target, block.dtype), casting="unsafe")
        # That is all, but for a few values next to 0 and q, which a masked word takes once in 2^58 (2^26).
        # Seen as unsigned, negative values are large.
        unsigned = target.view(np.uint64) if target.dtype.itemsize == 8 else target
        if not len(target) or int(np.maximum.reduce(unsigned)) < self.prime:
            return
        if target is not block:
            np.add(block, scratch, out=block)
        self.fold(block, scratch)  # now in [0, 2q); the next three lines send q itself to 0
        np.add(block, 1, out=block)
        self.fold(block, scratch)
        np.subtract(block, 1, out=block)
        target[:] = block

    def centre(self, block: Words, scratch: npt.NDArray[np.uint64], out: npt.NDArray[np.uint64]) -> Int64:
        """Return what a block of words stands for, between -(q-1)/2 and (q-1)/2; it lies in ``out``.

        Words of 8 bytes are below 2^64 - q/2; ``scratch`` and ``out`` are uint64 of the block's length.
        """
        half = (self.prime - 1) // 2
        # Up by half of q, reduced, and down again: no comparison per element tells which ones are negative.
        np.add(block, half, out=out)
        self.canonicalise(out, scratch)
        centred = out.view(np.int64)
        np.subtract(centred, half, out=centred)
        return centred


def _as(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return words of 8 bytes as ``dtype``, others as they are."""
    return array.view(dtype) if array.dtype.itemsize == dtype.itemsize else array


FIELD_61 = Field(bits=61, dtype=np.dtype("<u8"), headroom=8)
FIELD_31 = Field(bits=31, dtype=np.dtype("<u4"), headroom=2)


def field_of(prime_q: int) -> Field:
    """Return the field of order ``prime_q``; raises `UnsupportedField` for any other than the two."""
    for field in (FIELD_61, FIELD_31):
        if field.prime == prime_q:
            return field
    raise UnsupportedField(f"prime_q {prime_q} is not supported: use 2**61-1 (default) or 2**31-1 (compact)")
