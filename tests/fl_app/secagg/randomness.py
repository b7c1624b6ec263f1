"""Statistical tests of masked words, some fifty of them; honest words miss their thresholds once in a billion times."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

P_VALUE = 1e-9


def uniform(words: npt.NDArray[Any], bits: int) -> bool:
    """Say whether the top and the bottom bits of ``words`` [n], of ``bits`` bits each, may be uniform: chi-square."""
    taken = 8 if len(words) > 2_500 else 4  # some ten words and more to each value
    parts = words >> (bits - taken), words & ((1 << taken) - 1)
    counts = [np.bincount(part.astype(np.int64), minlength=1 << taken) for part in parts]
    return min(stats.chisquare(count).pvalue for count in counts) > P_VALUE


def uncorrelated(one: npt.NDArray[Any], other: npt.NDArray[Any], prime: int) -> bool:
    """Say whether two vectors of field elements may have nothing to do with each other.

    Their difference modulo q would be uniform then, and their values, as numbers, uncorrelated.
    """
    difference = (one.astype(object) - other.astype(object)) % prime
    floats = one.astype(np.float64), other.astype(np.float64)
    differs = uniform(difference.astype(np.uint64), prime.bit_length())
    return differs and bool(stats.pearsonr(*floats).pvalue > P_VALUE)
