"""Ways in which the rows of one table may have come to lie with several pods."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TARGET = "TARGET"
SMALL_POD = 500
LEAST_ROWS = 100

Parts = list[NDArray[np.int64]]


def iid(table: pd.DataFrame, pods: int, rng: np.random.Generator) -> Parts:
    """Deal the rows at random, in equal parts."""
    return np.array_split(rng.permutation(len(table)), pods)


def by_education(table: pd.DataFrame, pods: int, rng: np.random.Generator) -> Parts:
    """Sort the rows by years of education, and cut them into equal parts."""
    order = rng.permutation(len(table))
    years = table["education-num"].to_numpy()[order]
    return np.array_split(order[np.argsort(years, kind="stable")], pods)


def dirichlet(alpha: float) -> Callable[[pd.DataFrame, int, np.random.Generator], Parts]:
    """Return a split that deals each class by shares drawn from a Dirichlet distribution; small is skewed.

    Drawn again until every pod has at least ``LEAST_ROWS`` rows (Hsu et al. 2019).
    """

    def split(table: pd.DataFrame, pods: int, rng: np.random.Generator) -> Parts:
        classes = [np.flatnonzero(table[TARGET] == label) for label in sorted(table[TARGET].unique())]
        while True:
            parts: list[list[NDArray[np.int64]]] = [[] for _ in range(pods)]
            for rows in classes:
                cuts = np.cumsum(rng.dirichlet([alpha] * pods))[:-1] * len(rows)
                for part, dealt in zip(parts, np.split(rng.permutation(rows), cuts.astype(int)), strict=True):
                    part.append(dealt)
            dealt_parts = [np.concatenate(part) for part in parts]
            if min(map(len, dealt_parts)) >= LEAST_ROWS:
                return dealt_parts

    return split


def one_large(table: pd.DataFrame, pods: int, rng: np.random.Generator) -> Parts:
    """Give ``SMALL_POD`` rows to each pod but the first, which has all others."""
    order = rng.permutation(len(table))
    small = SMALL_POD * (pods - 1)
    return [order[small:], *np.split(order[:small], pods - 1)]


SPLITS: dict[str, Callable[[pd.DataFrame, int, np.random.Generator], Parts]] = {
    "iid": iid,
    "by education": by_education,
    "dirichlet 0.5": dirichlet(0.5),
    "dirichlet 0.1": dirichlet(0.1),
    "one large": one_large,
}
