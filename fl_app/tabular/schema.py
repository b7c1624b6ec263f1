"""What a pod publishes of its table (columns, kinds, category values, public bounds), and combining several."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from fl_app.errors import DataError, UsageError
from fl_app.tabular.columns import categories_of, numbers_of
from fl_app.validation import Frozen

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["categorical", "continuous"]
KINDS: tuple[Kind, ...] = ("categorical", "continuous")


class SchemaMismatch(DataError):
    """The tables of two pods cannot be used together; the text names pods, column and what differs."""


class Column(Frozen):
    """One column as its owner publishes it.

    Attributes
    ----------
    name : str
        Its name in the table's header.
    kind : str
        "categorical" or "continuous".
    values : tuple of str
        Categorical columns: the categories of enough rows to be published, sorted.
    low, high : float or None
        Continuous columns: public bounds, not the data's own extremes.
    integer : bool
        Continuous columns: whether all numbers are whole.
    optional : bool
        Whether it may be absent from other pods.
    """

    name: str = Field(min_length=1)
    kind: Kind
    values: tuple[str, ...] = ()
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    integer: bool = False
    optional: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "categorical":
            if self.low is not None or self.high is not None or self.integer:
                raise ValueError(f"column {self.name!r} is categorical and can have no bounds")
            if list(self.values) != sorted(set(self.values)):
                raise ValueError(f"the values of column {self.name!r} must be sorted and differ")
        elif self.values or self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"column {self.name!r} is continuous: it needs low < high and no values")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The public bounds of a continuous column."""
        if self.low is None or self.high is None:
            raise UsageError(f"column {self.name!r} is categorical and has no bounds")
        return self.low, self.high


class Schema(Frozen):
    """What a pod publishes of its table; it holds no counts.

    Attributes
    ----------
    name : str
        The pod's.
    columns : tuple of Column
        In the table's order.
    """

    name: str = Field(min_length=1)
    columns: tuple[Column, ...]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        repeated = [name for name, times in Counter(self.names).items() if times > 1]
        if repeated:
            raise ValueError(f"columns named more than once: {', '.join(repeated)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return a column by name; raises DataError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise DataError(f"{self.name!r} has no column {name!r}; it has {', '.join(self.names)}")


class CombinedSchema(Schema):
    """One schema for several pods.

    Attributes
    ----------
    name, columns
        As in a `Schema`; the name is made of the pods' names.
    differences : tuple of str
        A line for each difference between the pods' tables that combining bridged.
    """

    differences: tuple[str, ...] = ()


def schema_of(
    frame: "pd.DataFrame",
    *,
    name: str,
    ignore_cols: Collection[str] = (),
    force_stypes: Mapping[str, Sequence[str]] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    optional: Collection[str] = (),
    min_count: int = 10,
) -> Schema:
    """Describe a table: text and booleans are categorical, numbers continuous, unless forced otherwise.

    Category values seen in fewer than ``min_count`` rows are not published. A continuous column's public
    bounds are the owner's, or the least power of two that covers the data: 0..2^k, or -2^k..2^k.

    Raises
    ------
    UsageError
        A setting names a column that the table lacks, or a kind other than categorical and continuous, or
        bounds a categorical column.
    DataError
        A column can be read neither as categories nor as numbers.
    """
    forced = {column: kind for kind, columns in (force_stypes or {}).items() for column in columns}
    settings = {"ignore_cols": ignore_cols, "force_stypes": forced, "bounds": bounds or {}, "optional": optional}
    for setting, columns in settings.items():
        if absent := sorted(set(columns) - set(frame.columns)):
            raise UsageError(f"{setting} names {', '.join(map(repr, absent))}, not a column of {name!r}")
    if wrong := sorted(set(force_stypes or {}) - set(KINDS)):
        raise UsageError(f"force_stypes: unknown kind {wrong[0]!r}; allowed are {' and '.join(KINDS)}")

    def describe(column: str) -> Column:
        series = frame[column]
        if (forced.get(column) or _kind_of(series)) == "categorical":
            if column in (bounds or {}):
                raise UsageError(f"bounds names {column!r}, which is categorical in {name!r}")
            values = _published_values(series, min_count)
            return Column(name=column, kind="categorical", values=values, optional=column in optional)
        numbers = numbers_of(series, column)
        numbers = numbers[~np.isnan(numbers)]
        low, high = (bounds or {}).get(column) or _public_bounds(numbers)
        integer = bool((numbers == np.rint(numbers)).all())
        return Column(name=column, kind="continuous", low=low, high=high, integer=integer, optional=column in optional)

    return Schema(name=name, columns=tuple(describe(c) for c in frame.columns if c not in ignore_cols))


def combine(schemas: Sequence[Schema], *, ignore_cols: Collection[str] = ()) -> CombinedSchema:
    """Unite the schemas of several pods: all category values, the widest bounds, the first pod's column order.

    Raises
    ------
    SchemaMismatch
        Pods disagree on a column's kind, or one lacks a column that no pod declares optional.
    """
    if not schemas:
        raise UsageError("combine needs the schema of at least one pod")
    names = dict.fromkeys(name for schema in schemas for name in schema.names if name not in ignore_cols)
    columns: list[Column] = []
    differences: list[str] = []
    for name in names:
        held = {schema.name: schema.column(name) for schema in schemas if name in schema.names}
        absent = {schema.name: _similar_name(name, schema) for schema in schemas if name not in schema.names}
        column, bridged = _combine_column(held, absent)
        columns.append(column)
        differences += bridged
    return CombinedSchema(
        name=" + ".join(schema.name for schema in schemas), columns=tuple(columns), differences=tuple(differences)
    )


def _similar_name(name: str, schema: Schema) -> str:
    """Return the column whose name differs only in case, spaces or punctuation; "" if there is none."""

    def plain(text: str) -> str:
        return "".join(filter(str.isalnum, text)).casefold()

    return next((other for other in schema.names if plain(other) == plain(name)), "")


def _combine_column(held: Mapping[str, Column], absent: Mapping[str, str]) -> tuple[Column, list[str]]:
    (first_pod, first), *others = held.items()
    for pod, column in others:
        if column.kind != first.kind:
            raise SchemaMismatch(
                f"column {first.name!r} is {first.kind} in {first_pod!r} but {column.kind} in {pod!r}; "
                "one owner must set force_stypes for it, or leave it out with ignore_cols"
            )
    optional = any(column.optional for column in held.values())
    if absent and not optional:
        lacking = [f"{pod!r}" + (f" (which has {alike!r})" if alike else "") for pod, alike in absent.items()]
        raise SchemaMismatch(
            f"column {first.name!r} of {first_pod!r} is missing in {', '.join(lacking)}; "
            "declare it optional where it exists, or leave it out with ignore_cols"
        )
    differences = [f"{first.name}: {pod} lacks this optional column" for pod in absent]
    if first.kind == "categorical":
        values = tuple(sorted({value for column in held.values() for value in column.values}))
        for pod, column in held.items():
            if lacking := [value for value in values if value not in column.values]:
                differences.append(f"{first.name}: {pod} does not publish {', '.join(lacking)}")
        return Column(name=first.name, kind="categorical", values=values, optional=optional), differences
    low = min(column.bounds[0] for column in held.values())
    high = max(column.bounds[1] for column in held.values())
    for pod, column in held.items():
        if column.bounds != (low, high):
            differences.append(f"{first.name}: {pod} has {column.low:g}..{column.high:g} of {low:g}..{high:g}")
    integer = all(column.integer for column in held.values())
    combined = Column(name=first.name, kind="continuous", low=low, high=high, integer=integer, optional=optional)
    return combined, differences


def _kind_of(series: "pd.Series[Any]") -> Kind:
    import pandas as pd

    types = pd.api.types
    if types.is_bool_dtype(series):
        return "categorical"
    if types.is_numeric_dtype(series) and not types.is_complex_dtype(series):
        return "continuous"
    if types.is_string_dtype(series) or series.dtype == object or isinstance(series.dtype, pd.CategoricalDtype):
        return "categorical"
    raise DataError(
        f"column {series.name!r} is of type {series.dtype}, neither text nor number: convert it, force its "
        "kind with force_stypes, or leave it out with ignore_cols"
    )


def _published_values(series: "pd.Series[Any]", min_count: int) -> tuple[str, ...]:
    indices, texts = categories_of(series)
    counts: Counter[str] = Counter()
    for text, count in zip(texts, np.bincount(indices[indices >= 0], minlength=len(texts)), strict=True):
        if text is not None:
            counts[text] += int(count)
    return tuple(sorted(text for text, count in counts.items() if count >= min_count))


def _public_bounds(numbers: "np.ndarray[Any, np.dtype[np.float64]]") -> tuple[float, float]:
    largest = float(np.abs(numbers).max(initial=0.0))
    # A power of two, so that the bound shows the order of magnitude of the largest value and not the value itself.
    # Beyond 2^1000 either way the grid and the squares would leave the range of a float.
    bound = 2.0 ** min(max(math.ceil(math.log2(largest)), -1000), 1000) if largest else 1.0
    return (-bound if numbers.min(initial=0.0) < 0 else 0.0), bound
