"""Tags: how a pod can tell the sum of its cohort from any other that a server shows.

All pods of a verified session know a key that the server does not know. For each step it gives a linear form H on the
field's vectors, and a pad p_i for each pod. To its encoded vector x_i a pod adds, as one masked element more (two in
the small field), its tag H(x_i) + p_i. A sum of the pods U then holds S = sum of x_i and T = H(S) + sum of p_i over U,
which the server can pass on and not make: a Wegman-Carter authenticator whose message is a sum.

H has two levels. The vector is cut into rows of 4,096 elements, and four vectors r_1 .. r_4 of as many signed 16-bit
coefficients, the same for each row, give four numbers for each; then H is a linear form in all of these, with a
coefficient s of the field for each number (in the small field two such forms). The tag's own elements count as 0.

**What it is worth.** A server that knows S, T and U shows (S', T', U') instead, not the same. Coefficients and pads are
as good as random, and of no use for anything else, since a pod answers a step once.

1. If U' differs from U, the two sums of pads are independent, being sums over two different sets, neither of them
   empty; so the one that is needed is uniform, whatever the other was. It fits with probability 1/q.
2. If U' is U, the pads cancel: what passes has H(S' - S) = T' - T. Of H the server knows nothing, since the pads of U
   hide it in T. If S' = S, then T' must be T. If not, some row of S' - S has an element that is not 0 modulo q. Given
   all other coefficients, at most one of the 2^16 values of that element's own, which differ modulo q, makes the row's
   number 0; so all four are 0 with probability at most 2^-64. If one is not, the second level is uniform over the
   field, and T' - T with probability 1/q.

So an attempt passes with probability at most 2^-64 + 1/q, less than 2^-60; in the small field, where there are two
second levels and two pads, 2^-64 + 1/q^2, less than 2^-61. A pod whose check fails takes no further part in the run,
so there is one attempt for each pod and step. A pod that tells the server the key gives it everything.

**How it is computed.** The first level is a matrix product of float64, without rounding. Elements of an encoded vector
and of a sum are at most 2^52 in magnitude (the field's headroom sees to it), and fall into x = 2^26 h + l with h at
most 2^26 and l at most 2^25. A row's number is a sum of 2^12 products of a coefficient of at most 2^15 and h or l, so
it and all sums on the way to it, in whatever order, are integers of at most 2^53. The few numbers of the second level
are Python's.
"""

from collections.abc import Sequence
from operator import mul

import numpy as np
import numpy.typing as npt

from fl_app.secagg.codec import Layout
from fl_app.secagg.field import Field, Int64
from fl_app.secagg.keystream import BLOCK, aligned, derive, expand, keystream

ROW = 4_096
NUMBERS = 4
_FIRST = "fl-app/secagg/1/tag-first"
_SECOND = "fl-app/secagg/1/tag-second"
_PAD = "fl-app/secagg/1/tag-pad"
_LOW_BITS = 26
_SPLITTER = 1.5 * 2.0 ** (52 + _LOW_BITS)
_COEFFICIENT = np.dtype("<i2")
_FLOAT64 = np.dtype(np.float64)


def tag_elements(field: Field) -> int:
    """Return how many elements a tag has: as many as make it improbable enough to guess."""
    return 1 if field.bits > 60 else 2


class LinearForm:
    """H of one step, of a vector that is read span by span.

    Parameters
    ----------
    layout : Layout
        The vector's layout, with elements for a tag.
    key : bytes
        Key of the step's tags, 32 bytes.
    """

    def __init__(self, layout: Layout, key: bytes) -> None:
        self._field, self._tags = layout.field, len(layout.tag_places)
        rows = -(-layout.length // ROW)
        self._low, self._high = (aligned(min(BLOCK, rows * ROW), _FLOAT64) for _ in range(2))
        self._first = first_coefficients(key)
        self._second = expand(derive(key, _SECOND), layout.field, self._tags * rows * NUMBERS)
        self._low_numbers, self._high_numbers = (np.zeros((rows, NUMBERS)) for _ in range(2))

    def read(self, block: int, vector: Int64) -> None:
        """Read the elements of the numbered block and those after it: int64 [n], at most 2^52 in magnitude.

        Elements of the tag must be 0 in it.
        """
        for at in range(0, len(vector), BLOCK):
            self._read_block(block + at // BLOCK, vector[at : at + BLOCK])

    # A block at a time: its pieces stay in the processor's nearer cache, and OpenBLAS multiplies so small a matrix on
    # this thread. More threads would only take the processor from the one that runs the cipher.
    def _read_block(self, block: int, vector: Int64) -> None:
        rows, first = -(-len(vector) // ROW), block * BLOCK // ROW
        low, high = self._low[: rows * ROW], self._high[: rows * ROW]
        np.copyto(low[: len(vector)], vector)
        low[len(vector) :] = 0.0
        # Adding 1.5 * 2^78, whose last place is 2^26, rounds to a multiple of that.
        np.add(low, _SPLITTER, out=high)
        np.subtract(high, _SPLITTER, out=high)
        np.subtract(low, high, out=low)
        for part, numbers in ((low, self._low_numbers), (high, self._high_numbers)):
            np.matmul(part.reshape(rows, ROW), self._first, out=numbers[first : first + rows])

    def value(self) -> list[int]:
        """Return H of what was read, an element of the field for each element of a tag."""
        low = self._low_numbers.astype(np.int64).ravel().tolist()
        high = (self._high_numbers * 2.0**-_LOW_BITS).astype(np.int64).ravel().tolist()
        forms = [form.tolist() for form in self._second.reshape(self._tags, len(low))]
        return [
            ((sum(map(mul, form, high)) << _LOW_BITS) + sum(map(mul, form, low))) % self._field.prime for form in forms
        ]


def first_coefficients(key: bytes) -> npt.NDArray[np.float64]:
    """Return the coefficients of the first level, whole numbers from -2^15 to 2^15 - 1: float64 [ROW, NUMBERS]."""
    size = NUMBERS * ROW * _COEFFICIENT.itemsize
    raw = bytearray(size + 16)
    keystream(derive(key, _FIRST), 0)(0, size, memoryview(raw))
    return np.ascontiguousarray(np.frombuffer(raw, _COEFFICIENT, NUMBERS * ROW).reshape(NUMBERS, ROW).T, np.float64)


def pads(field: Field, key: bytes, names: Sequence[str]) -> list[int]:
    """Return the sum of the pads of the pods ``names``, an element of the field for each element of a tag."""
    elements = [expand(derive(key, _PAD, name), field, tag_elements(field)).tolist() for name in names]
    return [sum(column) % field.prime for column in zip(*elements, strict=True)]


class Tag:
    """The tag of one pod's vector.

    Parameters
    ----------
    layout : Layout
        The vector's layout, with elements for a tag.
    key : bytes
        Key of the step's tags, 32 bytes.
    name : str
        The pod.
    """

    def __init__(self, layout: Layout, key: bytes, name: str) -> None:
        self._field, self._pads, self._form = layout.field, pads(layout.field, key, [name]), LinearForm(layout, key)
        self.read = self._form.read

    def elements(self) -> list[int]:
        """Return the tag of what was read, each element in [0, q)."""
        return [(value + pad) % self._field.prime for value, pad in zip(self._form.value(), self._pads, strict=True)]
