"""What a row counts in training by its class, where classes are to count alike however rare they are."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ClassWeight = Literal["balanced"]
FEWEST = 10
"""Rows that a class is taken to have at least: it is published with so many, and a smaller count is noise."""


def balanced(rows: Sequence[int]) -> NDArray[np.float64]:
    """Return the weight of a row of each class, float64 [C]: all rows over classes times rows of the class.

    Every class weighs the same then, and a row 1 in the mean, as for ``class_weight="balanced"`` of scikit-learn.

    Parameters
    ----------
    rows : sequence of int
        Rows of each class, as far as noise tells.
    """
    counts = np.maximum(np.asarray(rows, dtype=np.float64), FEWEST)
    weights: NDArray[np.float64] = counts.sum() / (len(counts) * counts)
    return weights
