"""What a description of the pods' tables sums: which columns in which way, and in which order.

Numbers are described by the statistics that training begins with, categories by the same counts as a target's classes:
what is asked for both is the same sum.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.balance import is_countable, size_of
from fl_app.tabular.label_counts import LabelCounts
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.statistics import HISTOGRAM, MOMENTS, Statistics

if TYPE_CHECKING:
    from fl_app.tabular.settings import DataStructure

ROWS, CATEGORIES, BALANCE = "rows", "categories", "balance"
ROWS_VARIANCE = 18
"""Of the noise in each of the two numbers of rows, all and those that are trained on: together they tell as much as one
count with noise of 9."""


@dataclass(frozen=True)
class Described:
    """The columns that are described.

    Attributes
    ----------
    numbers : tuple of Column
        Continuous columns.
    categories : tuple of Column
        Categorical columns, the target first if there is one, and the parts of dates.
    target : Column or None
        As a categorical column.
    shared : mapping of str to sequence of str
        For each of the categorical columns, the values that enough pods publish for rows to be counted by them and by
        class: others would show one pod's rows. Parts of dates have none: every pod publishes all of the calendar's
        values, whatever its rows hold.
    """

    numbers: tuple[Column, ...]
    categories: tuple[Column, ...]
    target: Column | None = None
    shared: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: Schema, datastructure: "DataStructure", shared: Mapping[str, Sequence[str]]) -> Self:
        """Return what the columns of a combined schema are described as; the target "" is none."""
        named = names_in(schema, datastructure)
        columns = [part for name in named for part in with_parts(schema, schema.column(name))]
        target = schema.column(datastructure.target).as_categories() if datastructure.target else None
        categories = tuple(column for column in columns if column.kind == "categorical")
        return cls(
            numbers=tuple(column for column in columns if column.kind == "continuous"),
            categories=(target, *categories) if target else categories,
            target=target,
            shared=shared,
        )

    @property
    def classes(self) -> Column | None:
        """The target with the classes by which rows are counted; None where they are not."""
        target = self._shared(self.target) if self.target else None
        return target if target and is_countable(target) else None

    @property
    def balanced(self) -> tuple[Column, ...]:
        """The columns whose rows are counted by class, with the values by which they are; none without a target."""
        if not self.classes or not self.target:
            return ()
        others = [self._shared(column) for column in self.categories if column.name != self.target.name]
        return tuple(filter(is_countable, (*self.numbers, *others)))

    def _shared(self, column: Column) -> Column:
        values = set(self.shared.get(column.name, ()))
        return column.model_copy(update={"values": tuple(value for value in column.values if value in values)})

    def sizes(self) -> dict[str, int]:
        """Return the number of elements of each part of the sums."""
        classes = LabelCounts.size(self.classes) if self.classes else 0
        parts = {name: array.size for name, array in Statistics.zeros(self.numbers).arrays().items()}
        return {
            **parts,
            CATEGORIES: sum(map(LabelCounts.size, self.categories)),
            ROWS: 2,
            BALANCE: classes * sum(map(size_of, self.balanced)),
        }

    def category_counts(self, sums: NDArray[np.float64], pods: int) -> dict[str, LabelCounts]:
        """Read the sums of the pods' counts by category, with the noise of so many pods, by the column's name."""
        parts = split(sums, map(LabelCounts.size, self.categories))
        columns = zip(self.categories, parts, strict=True)
        return {column.name: LabelCounts.from_sums(part, pods) for column, part in columns}

    def joint(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
        """Read the sums of the pods' counts by class, int64 [`size_of` column, codes of the target], by name."""
        if self.classes is None:
            return {}
        classes = LabelCounts.size(self.classes)
        parts = split(sums, (size_of(column) * classes for column in self.balanced))
        return {
            column.name: np.rint(part).astype(np.int64).reshape(-1, classes)
            for column, part in zip(self.balanced, parts, strict=True)
        }


def split(sums: NDArray[np.float64], sizes: "Iterator[int] | Sequence[int]") -> list[NDArray[np.float64]]:
    """Cut a flat array into parts of these sizes."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [sums[start:end] for start, end in itertools.pairwise(ends)]


def with_parts(schema: Schema, column: Column) -> tuple[Column, ...]:
    """Return a column, and the parts of a date behind it, but for those whose name is that of a column of the table."""
    return column, *(part for part in column.parts if part.name not in schema.names)


def names_in(schema: Schema, datastructure: "DataStructure") -> tuple[str, ...]:
    """Name the columns that are described beside the target, in the schema's order.

    Raises
    ------
    DataError
        The schema lacks the target or a selected column, the target is optional or has fewer than two published
        values, or no column is left.
    """
    if datastructure.target:
        target = schema.column(datastructure.target)
        if len(target.values) < 2:
            raise DataError(
                f"the target {target.name!r} has fewer than two published values: a description counts rows by class; "
                "without a target it describes the column as it is"
            )
        if target.optional:
            raise DataError(f"the target {target.name!r} is declared optional, and every pod needs it")
    for name in datastructure.selected_cols or ():
        schema.column(name)
    wanted: Collection[str] = schema.names if datastructure.selected_cols is None else datastructure.selected_cols
    left_out = {datastructure.target, *datastructure.ignore_cols, *(c.name for c in schema.columns if c.empty)}
    names = tuple(name for name in schema.names if name in wanted and name not in left_out)
    if not names and not datastructure.target:
        raise DataError("no column is left to describe")
    return names


def statistics_in(sums: Mapping[str, NDArray[np.float64]], pods: int) -> Statistics:
    """Return the statistics of the numbers, from the sums of so many pods."""
    return Statistics.from_sums({name: sums[name] for name in (MOMENTS, HISTOGRAM)}, pods)
