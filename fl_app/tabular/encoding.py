"""From a table to arrays: the same encoding at every pod, made of public schemas and summed statistics alone.

Averaging networks is meaningful only where input k means the same at every pod. So nothing here is fitted to a pod's
own rows: category codes come from the combined schema, and mean, deviation and bins from sums over all pods.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from fl_app.errors import DataError, UsageError
from fl_app.tabular.binning import MAX_BINS, mean_and_std, merge_cells, resolve, value_codes
from fl_app.tabular.cell_text import RULE, STANDARD, NumberFormat, key_of
from fl_app.tabular.dates import DatePart
from fl_app.tabular.regression import DEFAULT_LOSS, Loss, NumericTarget
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import Statistics, cell_of, grid, is_absent, present_numbers, statistics_of
from fl_app.validation import Frozen

if TYPE_CHECKING:
    import pandas as pd

    from fl_app.tabular.cells import Table

Codes = NDArray[np.signedinteger[Any]]

UNKNOWN, MISSING, FIRST_VALUE = 0, 1, 2
"""Codes of a categorical column: a value that no pod published, no value, and the first published value."""
MAX_CODES = 2 * MAX_BINS + 1
"""Most codes of a number: its fullest cells, one each, and the bins of the others."""
MIN_BIN_ROWS = 5
"""Fewest rows of all pods in a bin, unless the modeller says otherwise: a bin of one row would be that row's value."""


class Normalisation(Frozen):
    """Mean, standard deviation and bins of each continuous feature, in the features' order.

    ``bins`` holds ascending edges in the column's own unit. They follow the distinct values rather than the
    rows, so that the many values of a column that is nearly always zero are not lost in one bin. ``cells``, edges
    again, and ``codes``, one for each cell between them, say which category each number is embedded as: a value
    with enough rows is one of its own, and rarer values share one with their neighbours.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bins: tuple[tuple[float, ...], ...]
    cells: tuple[tuple[float, ...], ...]
    codes: tuple[tuple[int, ...], ...]

    @classmethod
    def from_statistics(
        cls, statistics: Statistics, columns: Sequence[Column], min_bin_rows: int = MIN_BIN_ROWS
    ) -> Self:
        """Derive from sums over all pods, see `Encoding.of`.

        Every step is exact or rounded as IEEE 754 says, and ties keep the order of cells: the same sums give the same
        bits on any processor.
        """
        means, stds, bins, cells, codes = [], [], [], [], []
        levels = statistics.levels(columns)
        for column, moments, counts in zip(columns, statistics.moments.tolist(), levels, strict=True):
            edges = grid(column)
            mean, std = mean_and_std(column, moments, edges, counts, statistics.pods)
            blocks = resolve(edges, counts, statistics.pods, min_bin_rows)
            means.append(mean)
            stds.append(std)
            bins.append(merge_cells(blocks, min_bin_rows))
            cells_of_column, codes_of_column = value_codes(blocks, min_bin_rows)
            cells.append(cells_of_column)
            codes.append(codes_of_column)
        return cls(mean=tuple(means), std=tuple(stds), bins=tuple(bins), cells=tuple(cells), codes=tuple(codes))


@dataclass(frozen=True)
class Encoded:
    """The n rows of a table as arrays; integers in the smallest signed type that holds all that the encoding has.

    Attributes
    ----------
    numbers
        float32 [n, p]: continuous features, normalised; 0 (the mean) where missing.
    bins
        int8, int16 or int32 [n, p]: the code of each number's bin, from 1; 0 where missing.
    codes
        int8, int16 or int32 [n, c]: categorical features; 0 unknown, 1 missing, 2.. the schema's values.
    labels
        int8, int16 or int32 [n], or None where the table was encoded without its target, or that is a number.
    dropped
        Rows left out because their label is missing or not published.
    places
        int32 [n]: the row's number in the table; None: rows are numbered as they stand.
    values
        float64 [n]: a numeric target, in its own unit and within its bounds; None where `labels` would be, or are.
    """

    numbers: NDArray[np.float32]
    bins: Codes
    codes: Codes
    labels: Codes | None = None
    dropped: int = 0
    places: NDArray[np.int32] | None = None
    values: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def in_place(self) -> tuple["Encoded", NDArray[np.int64]]:
        """Return all rows of the table, those left out blank, and the places of the others, int64 [n].

        A row has the same place whatever became of the others. So what floating-point arithmetic makes of it does not
        depend on them either, as it does where a row more makes another batch.
        """
        size, rows = len(self) + self.dropped, np.arange(len(self))
        places = rows if self.places is None else self.places.astype(np.int64)

        def spread(part: Codes | NDArray[np.float32]) -> Any:
            whole = np.zeros((size, *part.shape[1:]), part.dtype)
            whole[places] = part
            return whole

        labels = None if self.labels is None else spread(self.labels)
        return Encoded(spread(self.numbers), spread(self.bins), spread(self.codes), labels), places


class Encoding(Frozen):
    """The encoding of a table as arrays; JSON by ``to_json``, and back by ``from_json``.

    Attributes
    ----------
    target : Column
        A categorical column whose values are the classes, or a continuous one.
    features : tuple of Column
        In the table's order.
    normalisation : Normalisation
        Of the continuous features.
    numbers : NumberFormat
        How the pods' files write numbers, where all write them alike: files are scored as written so.
    cells : str
        The rule by which the text of a cell was read: that of `fl_app.tabular.cell_text`.
    numeric : NumericTarget or None
        How the target is learnt, where it is a number.
    """

    target: Column
    features: tuple[Column, ...]
    normalisation: Normalisation
    numbers: NumberFormat = STANDARD
    cells: Literal["fl-app cells 1"] = RULE
    numeric: NumericTarget | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        normalisation = self.normalisation
        if self.target.numeric != (self.numeric is not None):
            raise UsageError("an encoding says how its target is learnt where it is a number, and only there")
        if self.numeric and (self.numeric.groups[0], self.numeric.groups[-1]) != self.target.bounds:
            raise UsageError("the groups of a numeric target end at its public bounds")
        for name, part in normalisation:
            if len(part) != len(self.continuous):
                raise UsageError(f"the normalisation has {len(part)} {name}, expected {len(self.continuous)}")
        for cells, codes in zip(normalisation.cells, normalisation.codes, strict=True):
            # The largest code sizes a network's layers: a number in a request must not cost a pod its memory.
            if len(codes) != len(cells) - 1 or min(codes, default=0) < 1 or max(codes) > MAX_CODES:
                raise UsageError(f"each cell of a normalisation needs a code, from 1 to {MAX_CODES}")
        return self

    @classmethod
    def of(
        cls,
        schema: Schema,
        datastructure: DataStructure,
        statistics: Statistics,
        *,
        min_bin_rows: int = MIN_BIN_ROWS,
        loss: Loss = DEFAULT_LOSS,
    ) -> Self:
        """Derive the encoding from a (combined) schema, the data structure and statistics summed over pods.

        It is a function of these alone, to the last bit.

        Parameters
        ----------
        min_bin_rows : int
            Each bin of a number holds so many rows of all pods together, or three deviations of the noise less at the
            worst, so that the bins in a model show no rarer value than that.
        loss : str
            What training makes small, where the target is a number.
        """
        features, numeric = features_of(schema, datastructure), None
        target = schema.column(datastructure.target).as_target()
        columns = _continuous(features)
        if target.numeric:  # its sums are the last
            statistics, own = statistics.parted(columns, (target,))
            numeric = NumericTarget.of(target, own, min_bin_rows, loss)
        normalisation = Normalisation.from_statistics(statistics, columns, min_bin_rows)
        return cls(
            target=target, features=features, normalisation=normalisation, numbers=schema.numbers, numeric=numeric
        )

    @cached_property
    def continuous(self) -> tuple[Column, ...]:
        """The continuous features."""
        return _continuous(self.features)

    @cached_property
    def categorical(self) -> tuple[Column, ...]:
        """The categorical features."""
        return tuple(column for column in self.features if column.kind == "categorical")

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of a model's outputs; none where the target is a number."""
        return self.target.values

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for a row: one for each class, or one that stands for the target itself."""
        return 1 if self.numeric else len(self.labels)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of codes of each categorical feature, unknown and missing included."""
        return tuple(FIRST_VALUE + len(column.values) for column in self.categorical)

    @property
    def bin_counts(self) -> tuple[int, ...]:
        """The number of codes that each continuous feature's bins have, missing included."""
        return tuple(1 + max(codes) for codes in self.normalisation.codes)

    def labels_of(self, rows: "Table | pd.DataFrame") -> NDArray[np.int64]:
        """Give each row's class as an index into ``labels``, int64 [n]; -1 where missing or not published."""
        return np.maximum(codes_of(_table(rows), self.target) - FIRST_VALUE, -1)

    def encode(self, rows: "Table | pd.DataFrame", *, with_labels: bool = True) -> Encoded:
        """Encode a table's rows, in order, but for those whose label is missing or not published.

        Raises
        ------
        DataError
            A column is absent that is not optional, or holds what its kind cannot hold.
        """
        labels: Codes | None = None
        values: NDArray[np.float64] | None = None
        table = _table(rows)
        size, places = len(table), None
        if with_labels and self.numeric:
            values = present_numbers(table, self.target)
            known = ~np.isnan(values)
            places = np.flatnonzero(known).astype(np.int32)
            table, values = table.rows(known), values[known]
        elif with_labels:
            labels = self.labels_of(table)
            known = labels >= 0
            places = np.flatnonzero(known).astype(np.int32)
            table, labels = table.rows(known), labels[known].astype(_smallest(len(self.labels)))
        n, p = len(table), len(self.continuous)
        categories = np.empty((n, len(self.categorical)), dtype=_smallest(max(self.cardinalities, default=0)))
        for i, column in enumerate(self.categorical):
            categories[:, i] = codes_of(table, column)
        numbers = np.zeros((n, p), dtype=np.float32)
        bins = np.zeros((n, p), dtype=_smallest(max(self.bin_counts, default=0)))
        for i, column in enumerate(self.continuous):
            held = present_numbers(table, column)
            present = ~np.isnan(held)
            held = held[present]
            codes = np.array(self.normalisation.codes[i], dtype=bins.dtype)
            numbers[present, i] = (held - self.normalisation.mean[i]) / self.normalisation.std[i]
            bins[present, i] = codes[cell_of(held, np.array(self.normalisation.cells[i]))]
        return Encoded(numbers, bins, categories, labels, dropped=size - n, places=places, values=values)


def features_of(schema: Schema, datastructure: DataStructure) -> tuple[Column, ...]:
    """Give the columns that are learnt from, in the table's order, and the parts of a date behind it.

    Raises
    ------
    DataError
        A column has the name that a part of a date would have; or see `DataStructure.features`.
    """
    columns = tuple(map(schema.column, datastructure.features(schema)))
    features = tuple(part for column in columns for part in (column, *column.parts))
    if taken := [column.name for column in features if column.part and column.name in schema.names]:
        raise DataError(f"the tables have a column {taken[0]!r} already: leave out that part of the date")
    return features


def summed_columns(schema: Schema, datastructure: DataStructure) -> tuple[Column, ...]:
    """Give the columns that statistics are summed for: the continuous features, then the target if it is a number."""
    target = schema.column(datastructure.target)
    return (*_continuous(features_of(schema, datastructure)), *((target,) if target.numeric else ()))


def _continuous(features: Iterable[Column]) -> tuple[Column, ...]:
    return tuple(column for column in features if column.kind == "continuous")


def statistic_sums(rows: "Table | pd.DataFrame", schema: Schema, datastructure: DataStructure) -> Statistics:
    """Sum one pod's rows for the statistics step, by the combined schema of all pods."""
    return statistics_of(_table(rows), summed_columns(schema, datastructure))


def codes_of(table: "Table", column: Column) -> NDArray[np.int64]:
    """Encode a categorical column, int64 [n]: 0 unknown, 1 missing, 2.. its published values."""
    if is_absent(table, column):
        return np.full(len(table), MISSING, dtype=np.int64)
    if column.part:
        return _codes_of_part(table, column.part, column.missing)
    indices, texts = table.texts(column.name, column.missing)
    codes = {key_of(value): code for code, value in enumerate(column.values, start=FIRST_VALUE)}
    # Index -1, a missing cell, takes the last entry.
    return np.array([*(codes.get(key_of(text), UNKNOWN) for text in texts), MISSING], dtype=np.int64)[indices]


def _codes_of_part(table: "Table", part: DatePart, missing: Collection[str]) -> NDArray[np.int64]:
    from fl_app.tabular.date_cells import parts_of

    seconds = table.numbers_of(part.column, missing, part.date.model_copy(update={"unit": "seconds"}))
    places = parts_of(seconds, part.part)
    return np.where(places < 0, MISSING, FIRST_VALUE + places)


def _smallest(codes: int) -> np.dtype[Any]:
    """Return the smallest signed type that holds the codes below ``codes``: torch knows few unsigned ones."""
    return np.min_scalar_type(-max(codes, 1))


def _table(rows: "Table | pd.DataFrame") -> "Table":
    from fl_app.tabular.cells import Table  # Arrow is imported where rows are: not every message of a pod reads them

    return Table.of(rows)
