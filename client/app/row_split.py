"""Which of a pod's rows are for training, which for validation and which for test."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.folds import TENTHS, Fold

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
    order = _order(rows, seed_text)
    cuts = [rows * (100 - validation_percent - test_percent) // 100, rows * (100 - test_percent) // 100]
    train, validation, test = np.split(order, cuts)
    if not len(validation) or (test_percent and not len(test)):
        raise DataError(
            "the table has too few rows for its validation_percent and test_percent: not one row for each; raise them"
        )
    return np.sort(train), np.sort(validation), np.sort(test)


def fold_rows(rows: int, name: str, fold: Fold, least: int) -> tuple[Indices, Indices, Indices]:
    """Split the rows 0..rows-1 into those for training, for validation and for test in a run that holds out a fold.

    What part a row has follows from its place and the number of rows, never from what it or another row holds. The
    order is another than that of `split_rows`: no few rows are in a fold and not among the usual test rows, say, by
    which sums over the two would differ.

    Parameters
    ----------
    rows : int
    name : str
        The pod's.
    fold : Fold
    least : int
        Fewest rows of the pod in a tenth: with fewer it holds none out in any fold, and trains on all.

    Returns
    -------
    tuple
        As of `split_rows`; over all folds, each row is once among the last.

    Raises
    ------
    DataError
        There are fewer than ten rows.
    """
    order = _order(rows, f"{name}/folds")
    if rows // TENTHS < least:
        return np.arange(rows), order[:0], order[:0]
    tenths = [order[rows * place // TENTHS : rows * (place + 1) // TENTHS] for place in range(TENTHS)]
    held = {*fold.tenths, fold.validation}
    train = np.concatenate([tenth for place, tenth in enumerate(tenths) if place not in held])
    test = np.concatenate([tenths[place] for place in fold.tenths])
    return np.sort(train), np.sort(tenths[fold.validation]), np.sort(test)


def _order(rows: int, seed_text: str) -> Indices:
    if rows < MINIMUM_ROWS:
        raise DataError(f"the table has too few rows: a pod needs at least {MINIMUM_ROWS} to train and validate")
    seed = int.from_bytes(hashlib.sha256(seed_text.encode()).digest(), "big")
    return np.random.default_rng(seed).permutation(rows)
