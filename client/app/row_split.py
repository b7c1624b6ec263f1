"""Which of a pod's rows are for training, which for validation and which for test."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError

MINIMUM_ROWS = 10

Indices = NDArray[np.int64]


def split_rows(
    rows: int, seed_text: str, *, validation_percent: int = 10, test_percent: int = 10
) -> tuple[Indices, Indices, Indices]:
    """Split the rows 0..rows-1 at random into those for training, for validation and for test.

    The same arguments give the same split; another ``seed_text`` gives an unrelated one.

    Returns
    -------
    tuple
        Three arrays of row numbers, int64, ascending, disjoint; none is empty but the last, where it is to be.

    Raises
    ------
    DataError
        There are fewer than ten rows, or too few for the shares that are to be kept.
    """
    if rows < MINIMUM_ROWS:
        raise DataError(f"the table has too few rows: a pod needs at least {MINIMUM_ROWS} to train and validate")
    seed = int.from_bytes(hashlib.sha256(seed_text.encode()).digest(), "big")
    order = np.random.default_rng(seed).permutation(rows)
    cuts = [rows * (100 - validation_percent - test_percent) // 100, rows * (100 - test_percent) // 100]
    train, validation, test = np.split(order, cuts)
    if not len(validation) or (test_percent and not len(test)):
        raise DataError(
            "the table has too few rows for its validation_percent and test_percent: not one row for each; raise them"
        )
    return np.sort(train), np.sort(validation), np.sort(test)
