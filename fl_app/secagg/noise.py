"""Noise of the discrete Gaussian over the integers: exact, in integer arithmetic alone, from the system's randomness.

The sampler is that of Canonne, Kamath and Steinke (2020), arXiv 2004.00010, over whole arrays: a discrete Laplace
proposal (their algorithm 2), made of coins that show heads with probability exp(-x) for rational x (algorithm 1), is
rejected until what is left is Gaussian (algorithm 3). No probability is ever rounded: noise of floating-point numbers
can be told apart by its last bits, and numpy's generators can be run backwards.

>>> shares = [discrete_gaussian(25, 4) for _ in range(3)]  # three pods, an element each of four
>>> sum(shares).shape  # of variance 75, and nobody knows it who does not know all three
(4,)
"""

import math
import secrets
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

RandomBytes = Callable[[int], bytes]
"""Gives so many random bytes, others each time."""

LARGEST = 1 << 45
"""A variance's numerator and denominator are below it: what is computed from them has to fit 64 bits."""
_DIGIT = 16
_LONGEST = 64
_BATCH = 1 << 17

_Integers = npt.NDArray[np.int64]
_Coins = npt.NDArray[np.bool_]


def fresh_keystream() -> RandomBytes:
    """Return the keystream of AES-256 in counter mode under a key of the system's that nobody keeps."""
    stream = Cipher(AES256(secrets.token_bytes(32)), CTR(bytes(16))).encryptor()
    return lambda size: stream.update(bytes(size))


def discrete_gaussian(
    variance: Fraction | int, size: int, randomness: RandomBytes | None = None
) -> npt.NDArray[np.int64]:
    """Draw from the integers, k with a probability proportional to exp(-k^2 / (2 variance)).

    Sums of independent draws have the sum of the variances, and no bound: a magnitude of 9.2 standard deviations or
    more has a probability below 2^-60.

    Parameters
    ----------
    variance : Fraction or int
        From 1 on; numerator and denominator below `LARGEST`.
    size : int
        How many.
    randomness : callable
        For tests, which must be able to repeat a draw; a fresh keystream otherwise.

    Returns
    -------
    array
        int64 [size].

    Raises
    ------
    ValueError
        For another variance.
    """
    above, below = Fraction(variance).as_integer_ratio()
    if not (below <= above < LARGEST and below < LARGEST):
        raise ValueError(f"the variance of noise is from 1 on, of integers below {LARGEST}; expected such a fraction")
    sampler = Sampler(randomness or fresh_keystream())
    out = np.empty(size, np.int64)
    done = 0
    while done < size:
        # About 0.4 of the proposals are accepted; batches of a limited size stay in the processor's cache.
        drawn = sampler.gaussian(above, below, min(2 * (size - done) + 64, _BATCH))[: size - done]
        out[done : done + len(drawn)] = drawn
        done += len(drawn)
    return out


class Sampler:
    """The paper's algorithms, each for many draws at once, over one source of bytes."""

    def __init__(self, randomness: RandomBytes) -> None:
        self._randomness = randomness

    def gaussian(self, above: int, below: int, tries: int) -> npt.NDArray[np.int64]:
        """Propose at most ``tries`` times and return what is accepted: the discrete Gaussian of variance above / below.

        With v the variance and m any integer, near the deviation, a proposal of size y has the probability exp(-ym/v),
        and is accepted with exp(-(y-m)^2 / 2v): the product is that of exp(-y^2 / 2v), times a constant.
        """
        m = math.isqrt(above // below)
        sizes = self._laplace_sizes(above, below * m, tries)
        negative = (self._words(len(sizes)) & 1).astype(bool)
        off = sizes - m
        # A negative zero does not count, or zero would be proposed twice as often as it should be.
        accepted = self._exp_of_any(off * off * below, 2 * above) & ~(negative & (sizes == 0))
        drawn: _Integers = np.where(negative, -sizes, sizes)[accepted]
        return drawn

    def _laplace_sizes(self, above: int, below: int, tries: int) -> _Integers:
        """Return at most ``tries`` draws y >= 0, each with a probability proportional to exp(-y below / above)."""
        rest = self._below(above, tries)
        rest = rest[self._exp(rest, above)]
        whole = self._geometric(len(rest))
        # Cut at 64 deviations, where an accepted draw lies with a probability below 2^-2900: it must fit 64 bits.
        near = whole < _LONGEST
        return (rest + above * whole)[near] // below

    def _geometric(self, size: int) -> _Integers:
        """Return how often in a row a coin of exp(-1) shows heads, for each of ``size``."""
        heads, going = np.zeros(size, np.int64), np.arange(size)
        while len(going):
            going = going[self._exp_of_one(len(going))]
            heads[going] += 1
        return heads

    def _exp_of_any(self, above: _Integers, below: int) -> _Coins:
        """Toss coins that show heads with probability exp(-above / below), for any fractions >= 0."""
        whole = above // below
        coins = self._exp(above - whole * below, below)
        far = np.flatnonzero(coins & (whole > 0))
        coins[far] = self._geometric(len(far)) >= whole[far]
        return coins

    # The k-th coin of a row shows heads with a probability of x / k. That the first tails is at an odd place has the
    # probability 1 - x + x^2/2! - x^3/3! + ... = exp(-x) (von Neumann).
    def _exp(self, above: _Integers, below: int) -> _Coins:
        """Toss coins that show heads with probability exp(-above / below), for fractions from 0 to 1."""
        heads = self._coins(above, below)
        coins, going, place = ~heads, np.flatnonzero(heads), 1
        while len(going):
            place += 1
            heads = self._constant_coins(len(going), place)
            heads[heads] = self._coins(above[going[heads]], below)
            coins[going[~heads]] = place % 2 == 1
            going = going[heads]
        return coins

    def _exp_of_one(self, size: int) -> _Coins:
        """Toss coins that show heads with probability exp(-1)."""
        coins, going, place = np.zeros(size, bool), np.arange(size), 1  # x = 1: the first of each row shows heads
        while len(going):
            place += 1
            heads = self._constant_coins(len(going), place)
            coins[going[~heads]] = place % 2 == 1
            going = going[heads]
        return coins

    # A uniform number's binary digits are compared with the fraction's, 16 at a time, until they differ.
    def _coins(self, above: _Integers, below: int) -> _Coins:
        """Toss coins that show heads with probability above / below, from 0 to 1."""
        digits, drawn = (above << _DIGIT) // below, self._words(len(above))
        coins = drawn < digits
        for at in np.flatnonzero(drawn == digits):
            coins[at] = self._coin((int(above[at]) << _DIGIT) % below, below)
        return coins

    def _constant_coins(self, size: int, below: int) -> _Coins:
        """Toss coins that show heads with probability 1 / below."""
        digits, rest = divmod(1 << _DIGIT, below)
        drawn = self._words(size)
        coins = drawn < digits
        for at in np.flatnonzero(drawn == digits):
            coins[at] = self._coin(rest, below)
        return coins

    def _coin(self, above: int, below: int) -> bool:
        """Toss one coin that shows heads with probability above / below."""
        while True:
            digits, above = divmod(above << _DIGIT, below)
            if (drawn := int(self._words(1)[0])) != digits:
                return drawn < digits

    def _below(self, bound: int, tries: int) -> _Integers:
        """Return at most ``tries`` uniform integers from 0 to below ``bound``."""
        bits = (bound - 1).bit_length()
        drawn = np.zeros(tries, np.int64)
        for _ in range(0, bits, _DIGIT):
            drawn = drawn << _DIGIT | self._words(tries)
        drawn &= (1 << bits) - 1
        return drawn[drawn < bound]

    def _words(self, size: int) -> npt.NDArray[np.uint16]:
        """Return uniform integers of 16 bits."""
        return np.frombuffer(self._randomness(2 * size), "<u2")
