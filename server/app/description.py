"""The figures of a description, from the sums over the pods: functions of these and of the signed schemas alone."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_app.flower import names
from fl_app.replica.columns import COLUMNS, FEATURES, schema_of
from fl_app.replica.description import described_in
from fl_app.replica.state import Replica
from fl_app.secagg.codec import Aggregate
from fl_app.tabular.balance import balance_variance, stretches
from fl_app.tabular.description import BALANCE, CATEGORIES, ROWS, ROWS_VARIANCE, Described, statistics_in, with_parts
from fl_app.tabular.encoding import FIRST_VALUE, MISSING
from fl_app.tabular.label_counts import LabelCounts
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import VARIANCE
from server.app.description_result import (
    QUANTILES,
    BalanceRows,
    CategoryRows,
    ColumnDescription,
    DescriptionResult,
)
from server.app.ranks import Ranks

_BINS = 16
"""Most bars of a number's histogram."""
_LEAST_SPREAD = 10
"""Where a number's variance, in units of its bounds, is fewer deviations of the noise in a mean, none is given: that of
the variance has at most 2.5 of these."""
_WORST_RANK = 0.05
"""Where the noise in a quantile's rank has a deviation of a larger share of the rows, no quantile is given."""


def description_of(replica: Replica, sums: Aggregate) -> DescriptionResult:
    """Return all figures of a description.

    Parameters
    ----------
    replica : Replica
        That on which the sums were asked.
    sums : Aggregate
        The sums over the pods of the session.
    """
    head, pods = names.segment(names.STATISTICS, ""), sums.pods
    parts = {name.removeprefix(head): values for name, values in sums.values.items() if name.startswith(head)}
    described, features = described_in(replica), replica.facts[FEATURES]
    rows, train = (max(0, round(float(count))) for count in parts[ROWS])
    joint = _Joint(described, parts[BALANCE])
    numbers = _numbers(described, parts, train, joint, pods)
    counts = described.category_counts(parts[CATEGORIES], pods)
    categories = {column.name: _categories(column, counts[column.name], joint) for column in described.categories}
    known = {**numbers, **categories}
    held: Any = features
    schema = schema_of(replica)
    columns = [
        known[column.name].changed(pods=len(held[whole.name]))
        for whole in schema.columns
        for column in with_parts(schema, whole)
        if column.name in known
    ]
    target = described.target
    noise = {"rows": ROWS_VARIANCE, "categories": VARIANCE}
    if described.balanced:
        noise["balance"] = balance_variance(int(str(replica.facts[COLUMNS])))
    return DescriptionResult(
        rows=rows,
        train_rows=train,
        target=target.name if target else None,
        classes=described.classes.values if described.classes else (),
        columns=tuple(columns),
        noise={name: round(math.sqrt(variance * pods), 2) for name, variance in noise.items()},
    )


class _Joint:
    """The counts of rows by a column and the class."""

    def __init__(self, described: Described, sums: NDArray[np.float64]) -> None:
        self._counts = described.joint(sums)
        self._columns = {column.name: column for column in described.balanced}

    def rows(self, column: Column) -> tuple[BalanceRows, ...]:
        """Return the rows by class of each category, or stretch, of a column; what noise put below zero as none."""
        if column.name not in self._counts:
            return ()
        column = self._columns[column.name]
        counts = np.maximum(self._counts[column.name][:, FIRST_VALUE:], 0).tolist()
        if column.kind == "continuous":
            missing, counts = counts[0], counts[1:]
            cells = [
                BalanceRows(low=low, high=high, rows=by_class)
                for (low, high), by_class in zip(_ends(column), counts, strict=True)
            ]
        else:
            missing = counts[MISSING]
            cells = [
                BalanceRows(value=value, rows=by_class)
                for value, by_class in zip(column.values, counts[FIRST_VALUE:], strict=True)
            ]
        return (*cells, BalanceRows(missing=True, rows=missing))


def _ends(column: Column) -> list[tuple[float, float]]:
    """Return the ends of a number's stretches; of whole ones the first and the last number in each."""
    ends = list(itertools.pairwise(stretches(column).tolist()))
    return [(math.ceil(low), math.floor(high)) for low, high in ends] if column.integer else ends


def _numbers(
    described: Described, parts: Mapping[str, Any], train: int, joint: _Joint, pods: int
) -> dict[str, ColumnDescription]:
    statistics = statistics_in(parts, pods)
    known = {}
    levels = statistics.levels(described.numbers)
    for column, moments, counts in zip(described.numbers, statistics.moments.tolist(), levels, strict=True):
        low, high = column.bounds
        about: dict[str, Any] = {"low": low, "high": high, "whole": column.integer, "balance": joint.rows(column)}
        rows = max(0, round(moments[2]))
        about["rows"] = rows
        if train:
            about["missing"] = round(min(max(1 - rows / train, 0.0), 1.0), 6)
        if rows > 3 * math.sqrt(pods * VARIANCE):
            about |= _figures(column, moments, counts, pods)
        known[column.name] = ColumnDescription(name=column.name, kind=column.kind, unit=column.unit, pods=0, **about)
    return known


def _figures(
    column: Column, moments: Sequence[float], levels: Sequence[NDArray[np.int64]], pods: int
) -> dict[str, Any]:
    low, high = column.bounds
    half, (total, squares, count) = (high - low) / 2, moments
    noise = math.sqrt(pods * VARIANCE) / count
    mean = min(max(total / count, -1.0), 1.0)
    variance = squares / count - mean * mean
    ranks = Ranks.of(column, levels, count, pods)
    error = ranks.deviation / count
    figures: dict[str, Any] = {
        "mean": (low + high) / 2 + half * mean,
        "mean_error": half * noise * math.sqrt(1 + mean * mean),
        "rank_error": round(error, 6),
    }
    if variance >= _LEAST_SPREAD * noise:
        figures["std"] = half * math.sqrt(variance)
    if error <= _WORST_RANK:
        bars, rows = ranks.histogram(_BINS)
        figures["quantiles"] = tuple(map(ranks.quantile, QUANTILES))
        figures |= {"histogram_edges": tuple(bars), "histogram_rows": tuple(rows)}
    return figures


def _categories(column: Column, counts: LabelCounts, joint: _Joint) -> ColumnDescription:
    rows = [CategoryRows(value=value, rows=n) for value, n in zip(column.values, counts.classes, strict=True)]
    held = sum(counts.classes) + counts.unpublished
    about: dict[str, Any] = {"missing": round(counts.missing / (held + counts.missing), 6)} if held else {}
    return ColumnDescription(
        name=column.name,
        kind="categorical",
        pods=0,
        rows=held,
        categories=tuple(sorted(rows, key=lambda entry: -entry.rows)),
        unpublished=counts.unpublished,
        balance=joint.rows(column),
        **about,
    )
