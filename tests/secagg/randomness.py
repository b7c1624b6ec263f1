"""Statistical tests of masked words, on thresholds that honest words miss once in a million runs."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

P_VALUE = 1e-6
BINS = 256


def uniform(words: npt.NDArray[Any], bits: int) -> bool:
    """Say whether the top and the bottom eight bits of ``words`` [n], of ``bits`` bits each, may be uniform."""
    top = np.bincount((words >> (bits - 8)).astype(np.int64), minlength=BINS)
    bottom = np.bincount((words & 0xFF).astype(np.int64), minlength=BINS)
    return min(stats.chisquare(top).pvalue, stats.chisquare(bottom).pvalue) > P_VALUE


def uncorrelated(one: npt.NDArray[Any], other: npt.NDArray[Any], prime: int) -> bool:
    """Say whether two vectors of field elements may have nothing to do with each other.

    Their difference modulo q would be uniform then, and their values, as numbers, uncorrelated.
    """
    difference = (one.astype(object) - other.astype(object)) % prime
    floats = one.astype(np.float64), other.astype(np.float64)
    differs = uniform(difference.astype(np.uint64), prime.bit_length())
    return differs and bool(stats.pearsonr(*floats).pvalue > P_VALUE)
