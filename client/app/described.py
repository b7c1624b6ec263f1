"""What a pod adds to a description of the pods' tables: sums over its rows, each with the noise it has always had."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from client.app.repeated_noise import count_sums, label_sums, number_sums
from fl_app.tabular.balance import balance_variance, joint_counts
from fl_app.tabular.description import BALANCE, CATEGORIES, ROWS, ROWS_VARIANCE, Described
from fl_app.tabular.label_counts import LABELS
from fl_app.tabular.label_counts import label_sums as rows_by_label
from fl_app.tabular.statistics import statistics_of

if TYPE_CHECKING:
    from fl_app.tabular.cells import Table
    from fl_app.tabular.schema import Column


def described_sums(
    described: Described,
    table: "Table",
    train: "Table",
    *,
    columns: int,
    least: int,
    minimum_cohort: int,
    secret: bytes,
) -> dict[str, NDArray[np.int64]]:
    """Return a pod's part of each sum, by its name in `fl_app.tabular.description`.

    Numbers are summed over the training rows and categories counted over all, as for training: these are the same sums,
    and so have the same noise.

    Parameters
    ----------
    table, train : Table
        All rows, and those that are trained on.
    columns : int
        Columns of the pods' tables, those that are left out too.
    least : int
        The owner's ``minimum_category_count``: a smaller count by category or class is given as none.
    minimum_cohort : int
        The owner's fewest pods in a sum.
    secret : bytes
        The pod's, see `noise_secret`.
    """
    nothing = np.zeros(0, dtype=np.int64)
    terms = minimum_cohort, secret
    categories = [
        label_sums(rows_by_label(table, column, least), column, *terms)[LABELS] for column in described.categories
    ]
    rows = np.array([len(table), len(train)], dtype=np.int64)
    variance = balance_variance(columns)
    balance = [
        _balance(table, column, described.classes, least, variance, *terms).ravel()
        for column in described.balanced
        if described.classes
    ]
    return {
        **number_sums(statistics_of(train, described.numbers), described.numbers, *terms),
        CATEGORIES: np.concatenate([nothing, *categories]),
        ROWS: count_sums(rows, ROWS_VARIANCE, *terms, ROWS),
        BALANCE: np.concatenate([nothing, *balance]),
    }


def _balance(
    table: "Table",
    column: "Column",
    target: "Column",
    least: int,
    variance: int,
    minimum_cohort: int,
    secret: bytes,
) -> NDArray[np.int64]:
    """Count rows by column and class; two columns of categories have the same noise whichever of them is the target."""
    counts, pair = joint_counts(table, column, target, least), (column, target)
    swapped = column.kind == "categorical" and target.name < column.name
    if swapped:
        counts, pair = counts.T.copy(), (target, column)
    about = [part for each in pair for part in (each.name, each.model_dump_json(include=set(_MEANING)))]
    given = count_sums(counts, variance, minimum_cohort, secret, BALANCE, *about)
    return given.T if swapped else given


_MEANING = ("kind", "values", "low", "high", "integer")
"""What decides how the rows of a column are counted."""
