"""What a pod publishes of its table: columns, kinds, category values, public bounds, and how its cells read."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from fl_app.errors import DataError, UsageError
from fl_app.tabular.cell_text import DEFAULT_MISSING, STANDARD, NumberFormat, key_of
from fl_app.tabular.dates import VALUES, DateForm, DatePart, DateSettings, public_span, shown, span_of
from fl_app.validation import Frozen

if TYPE_CHECKING:
    import pandas as pd

    from fl_app.tabular.cells import Numeric, Table

_INFINITE = frozenset({f"{sign}{word}" for sign in ("", "+", "-") for word in ("inf", "infinity")})
Kind = Literal["categorical", "continuous"]
KINDS: tuple[Kind, ...] = ("categorical", "continuous")
MAX_CLASSES = 20
"""Most values of a column of whole numbers that are published, so that it can be a target."""


class Column(Frozen):
    """One column as its owner publishes it.

    Attributes
    ----------
    name : str
        Its name in the table's header.
    kind : str
        "categorical" or "continuous".
    values : tuple of str
        The categories of enough rows to be published, sorted. A continuous column has them where it holds few whole
        numbers, which makes it fit to be a target.
    low, high : float or None
        Continuous columns: public bounds, not the data's own extremes.
    integer : bool
        Continuous columns: whether all numbers are whole.
    optional : bool
        Whether it may be absent from other pods.
    missing : tuple of str
        Texts that stand for a missing value in it.
    unit : str
        In which unit its numbers are; "" where nobody says.
    empty : bool
        Whether no row holds a value.
    date : DateForm or None
        How its cells are read, where they are dates: it is continuous then, and its unit that of its date.
    part : DatePart or None
        Of which date it is which part: a category that follows from another column. No pod publishes such a column.
    """

    name: str = Field(min_length=1)
    kind: Kind
    values: tuple[str, ...] = ()
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    integer: bool = False
    optional: bool = False
    missing: tuple[str, ...] = DEFAULT_MISSING
    unit: str = ""
    empty: bool = False
    date: DateForm | None = None
    part: DatePart | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.date and (self.kind != "continuous" or self.values or self.unit != self.date.text):
            raise ValueError(
                f"column {self.name!r} is a date: it is continuous, in {self.date.text}, and has no values"
            )
        if self.part and (self.kind != "categorical" or self.values != VALUES[self.part.part]):
            raise ValueError(f"column {self.name!r} is the {self.part.part} of a date, and has its values")
        if self.kind == "categorical":
            if self.low is not None or self.high is not None or self.integer:
                raise ValueError(f"column {self.name!r} is categorical and can have no bounds")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"column {self.name!r} is continuous: it needs low < high")
        elif self.values and not self.integer:
            raise ValueError(f"column {self.name!r} is continuous: only whole numbers can be published as values")
        keys = [key_of(value) for value in self.values]
        if keys != sorted(set(keys)):
            raise ValueError(f"the values of column {self.name!r} must be sorted and differ")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The public bounds of a continuous column."""
        if self.low is None or self.high is None:
            raise UsageError(f"column {self.name!r} is categorical and has no bounds")
        return self.low, self.high

    @property
    def summary(self) -> str:
        """What is published of it, in a few words."""
        if self.empty:
            text = "no value"
        elif self.kind == "categorical":
            text = f"{len(self.values)} categor" + ("y" if len(self.values) == 1 else "ies")
        else:
            text = f"{self.range} in {self.unit}" if self.date else f"{self.range} {self.unit}".rstrip()
            text += f", {len(self.values)} whole values" if self.values else ", whole" if self.integer else ""
        return text + (", optional" if self.optional else "")

    @property
    def range(self) -> str:
        """The public bounds of a continuous column in words: as dates where it is one."""
        return " to ".join(map(self.written, self.bounds))

    def written(self, value: float) -> str:
        """Return a number of a continuous column as people write it: as a date where it is one."""
        return shown(value, self.date.unit) if self.date else f"{value:g}"

    @property
    def source(self) -> str:
        """The name of the column in the table that its cells come from."""
        return self.part.column if self.part else self.name

    @property
    def parts(self) -> "tuple[Column, ...]":
        """The parts of a date as columns of their own; a category each, of the calendar's values."""
        return tuple(
            Column(
                name=f"{self.name} ({part})",
                kind="categorical",
                values=VALUES[part],
                optional=self.optional,
                missing=self.missing,
                part=DatePart(column=self.name, part=part, date=self.date),
            )
            for part in (self.date.parts if self.date else ())
            if self.date
        )

    @property
    def numeric(self) -> bool:
        """Whether it is learnt as a number where it is the target: it is continuous and has no few values."""
        return self.kind == "continuous" and not self.values

    def as_target(self) -> "Column":
        """Return the column as a target is read: its values as categories, or, where it has none, its numbers."""
        return self if self.numeric else self.as_categories()

    def as_categories(self) -> "Column":
        """Return the column with its values as categories."""
        left_out = {"kind", "low", "high", "integer", "date"}
        return Column(kind="categorical", **{k: v for k, v in self if k not in left_out})


class ReadAs(NamedTuple):
    """How a column is read where its owner leaves it open and a proposal says it.

    Attributes
    ----------
    kind : str
        Its kind.
    missing : tuple of str
        Texts that stand for a missing value in it.
    described_by : tuple of str
        Those of them that may show in its kind, in whether it is whole or empty and in its few values: the others are
        so rare that it would tell of their rows.
    """

    kind: Kind
    missing: tuple[str, ...]
    described_by: tuple[str, ...]


class Schema(Frozen):
    """What a pod publishes of its table; it holds no counts.

    Attributes
    ----------
    name : str
        The pod's.
    columns : tuple of Column
        In the table's order.
    numbers : NumberFormat
        How its file writes numbers.
    disagreements : dict of str to str
        For each column in which the pod does not follow a modeller's proposal the reason.
    """

    name: str = Field(min_length=1)
    columns: tuple[Column, ...]
    numbers: NumberFormat = STANDARD
    disagreements: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        repeated = [name for name, times in Counter(self.names).items() if times > 1]
        if repeated:
            raise ValueError(f"columns named more than once: {', '.join(repeated)}")
        if derived := [column.name for column in self.columns if column.part]:
            raise ValueError(f"column {derived[0]!r} is a part of a date, which no table has as a column of its own")
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
    name, columns, numbers
        As in a `Schema`; the name is made of the pods' names, and ``numbers`` is the standard where they differ.
    differences : tuple of str
        A line for each difference between the pods' tables that combining bridged.
    """

    differences: tuple[str, ...] = ()


def schema_of(
    rows: "Table | pd.DataFrame",
    *,
    name: str,
    ignore_cols: Collection[str] = (),
    force_stypes: Mapping[str, Sequence[str]] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    optional: Collection[str] = (),
    units: Mapping[str, str] | None = None,
    dates: Mapping[str, DateSettings] | None = None,
    min_count: int = 10,
    read_as: Mapping[str, ReadAs] | None = None,
) -> Schema:
    """Describe a table: columns of which every cell is a number are continuous, others categorical, unless forced.

    Category values seen in fewer than ``min_count`` rows are not published. A continuous column's public
    bounds are the owner's, or the least power of two that covers the data: 0..2^k, or -2^k..2^k. One of at most
    ``MAX_CLASSES`` whole numbers publishes these too, unless it is forced to be continuous. For the columns in
    ``read_as`` kind and spellings of missing are those given there. Those in ``dates`` are dates, which are continuous.

    Raises
    ------
    UsageError
        A setting names a column that the table lacks, or a kind other than categorical and continuous, or
        bounds a categorical column.
    DataError
        A column can be read neither as categories nor as numbers.
    """
    from fl_app.tabular.cells import Table

    table = Table.of(rows)
    forced = {column: kind for kind, columns in (force_stypes or {}).items() for column in columns}
    settings = {
        "ignore_cols": ignore_cols,
        "force_stypes": forced,
        "bounds": bounds or {},
        "optional": optional,
        "units": units or {},
        "dates": dates or {},
    }
    for setting, columns in settings.items():
        if absent := sorted(set(columns) - set(table.names)):
            raise UsageError(f"{setting} names {', '.join(map(repr, absent))}, not a column of {name!r}")
    if wrong := sorted(set(force_stypes or {}) - set(KINDS)):
        raise UsageError(f"force_stypes: unknown kind {wrong[0]!r}; allowed are {' and '.join(KINDS)}")

    def describe(column: str) -> Column:
        agreed = (read_as or {}).get(column)
        if column in (dates or {}):
            return _dated(table, column, (dates or {})[column], agreed, optional=column in optional)
        numeric = table.numeric(column, agreed and agreed.described_by)
        _refuse_infinite(table, column, numeric)
        kind = forced.get(column) or (agreed.kind if agreed else kind_of(numeric))
        facts: dict[str, Any] = {
            "name": column,
            "optional": column in optional,
            "missing": agreed.missing if agreed else DEFAULT_MISSING if table.missing is None else table.missing,
            "unit": (units or {}).get(column, ""),
            "empty": not numeric.rows,
        }
        if kind == "categorical":
            if column in (bounds or {}):
                raise UsageError(f"bounds names {column!r}, which is categorical in {name!r}")
            values = published_values(table, column, min_count, agreed and agreed.missing)
            facts["empty"] = facts["empty"] and not values  # a text that was missing may be a value by the proposal
            return Column(kind="categorical", values=values, **facts)
        if numeric.number_rows < numeric.rows:
            table.numbers_of(column, agreed and agreed.described_by)  # raises, and quotes the texts
        low, high = (bounds or {}).get(column) or public_bounds(numeric.values)
        values = _few_values(numeric, min_count) if column not in forced else ()
        return Column(kind="continuous", low=low, high=high, integer=numeric.whole, values=values, **facts)

    described = tuple(describe(column) for column in table.names if column not in ignore_cols)
    return Schema(name=name, columns=described, numbers=table.numbers)


def _dated(table: "Table", name: str, settings: DateSettings, agreed: ReadAs | None, *, optional: bool) -> Column:
    """Describe a column of dates."""
    own = table.date_form(name, DateForm())
    form = DateForm(unit=settings.unit or "days", format=own, parts=settings.parts or ())
    described_by = agreed and agreed.described_by
    table.numbers_of(name, described_by, form)  # raises where it holds no dates, and quotes the texts
    numeric = table.numeric(name, described_by, form)
    seconds = settings.bounds or public_span((numeric.values * form.seconds).tolist())
    low, high = span_of(seconds, form.unit)
    return Column(
        name=name,
        kind="continuous",
        low=low,
        high=high,
        integer=numeric.whole,
        optional=optional,
        missing=agreed.missing if agreed else DEFAULT_MISSING if table.missing is None else table.missing,
        unit=form.text,
        empty=not numeric.rows,
        date=form.model_copy(update={"zoned": bool(numeric.codes.any())}),
    )


def kind_of(numeric: "Numeric") -> Kind:
    """Return the kind that a column's cells suggest; a column without a value is a category without values."""
    if not numeric.rows or numeric.number_rows < numeric.rows or numeric.codes.any():
        return "categorical"
    return "continuous"


def published_values(
    table: "Table", column: str, min_count: int, missing: Collection[str] | None = None
) -> tuple[str, ...]:
    """Return a column's categories of at least ``min_count`` rows, sorted; of several spellings the first."""
    indices, texts = table.texts(column, missing)
    counts: Counter[str] = Counter()
    spellings: dict[str, str] = {}
    held = np.bincount(indices[indices >= 0], minlength=len(texts))
    for text, count in zip(texts, held.tolist(), strict=True):
        if count:
            key = key_of(text)
            counts[key] += count
            spellings[key] = min(spellings.get(key, text), text)
    return tuple(spellings[key] for key, count in sorted(counts.items()) if count >= min_count)


def _few_values(numeric: "Numeric", min_count: int) -> tuple[str, ...]:
    numbers, places = np.unique(numeric.values, return_inverse=True)
    if not numeric.whole or len(numbers) > MAX_CLASSES or np.abs(numbers).max(initial=0) > 1e15:
        return ()
    counts = np.bincount(places, weights=numeric.counts, minlength=len(numbers))
    return tuple(sorted(str(int(number)) for number, count in zip(numbers, counts, strict=True) if count >= min_count))


def _refuse_infinite(table: "Table", column: str, numeric: "Numeric") -> None:
    """Raise where all that keeps a column from being numbers are infinite ones."""
    wrong = numeric.where[np.isnan(numeric.values)]
    if 0 < len(wrong) <= len(_INFINITE) and len(wrong) < len(numeric.where):
        texts = table.columns[column].texts
        if all(texts[int(place)].as_py().strip().lower() in _INFINITE for place in wrong):
            raise DataError(f"column {column!r} holds infinite numbers: remove them or leave the cells empty")


def public_bounds(numbers: "np.ndarray[Any, np.dtype[np.float64]]") -> tuple[float, float]:
    """Return the least power of two that covers numbers, as bounds: 0..2^k, or -2^k..2^k."""
    largest = float(np.abs(numbers).max(initial=0.0))
    # A power of two, so that the bound shows the order of magnitude of the largest value and not the value itself.
    # Beyond 2^1000 either way the grid and the squares would leave the range of a float.
    bound = 2.0 ** min(max(math.ceil(math.log2(largest)), -1000), 1000) if largest else 1.0
    return (-bound if numbers.min(initial=0.0) < 0 else 0.0), bound
