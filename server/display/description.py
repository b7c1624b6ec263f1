"""A description of the pods' tables in words and rows, for the terminal, the page and pandas alike."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from rich.table import Table

from fl_app.system.printable import one_line
from fl_app.tabular.dates import shown, unit_in
from fl_app.validation import first_of
from server.app.description_result import (
    QUANTILES,
    BalanceRows,
    ColumnDescription,
    DescriptionResult,
)

NUMBERS = ("column", "rows", "missing", "mean", "std", *(f"{share:.0%}" for share in QUANTILES))
"""The heads of the table of numbers."""
CATEGORIES = ("column", "rows", "missing", "categories")
"""The heads of the table of categories."""
FEW = "few"
"""What a count of no rows is: each pod has none, or fewer than its owner lets it add."""
_SHOWN = 6
_MOST_CELLS = 10
"""Categories of a column that a terminal shows by class, the fullest; a page and JSON have all."""


class Balanced(NamedTuple):
    """The rows of one category, or of one stretch of a number, by class."""

    column: str
    cell: str
    rows: tuple[int, ...]

    @property
    def shares(self) -> tuple[float | None, ...]:
        """Of the rows of each class; None where there are none."""
        total = sum(self.rows)
        return tuple(count / total if total else None for count in self.rows)


def told(description: DescriptionResult) -> Iterator[str]:
    """Yield what has to be said of the figures: how many rows, of which rows they are, how much noise is in them."""
    noise = description.noise
    yield (
        f"{description.rows:,} rows in all pods together, {description.train_rows:,} of them to train on; "
        f"give or take {noise['rows']:.0f}, the standard deviation of the noise that hides single rows"
    )
    kinds = {column.kind for column in description.columns}
    if "continuous" in kinds:
        yield "numbers are described over the rows to train on: the sums that training begins with"
    if "categorical" in kinds:
        yield (
            f"rows by category are counted over all rows, give or take {noise['categories']:.0f}; "
            "a pod adds no count below its owner's minimum_category_count"
        )
    if "balance" in noise:
        yield (
            "rows by class within a category, or a stretch of a number, are counted likewise, give or take "
            f"{noise['balance']:.0f}; '{FEW}' is none, or fewer at each pod than its owner lets it add"
        )
    if untold := [c.name for c in description.columns if c.kind == "continuous" and not c.quantiles]:
        yield f"no quantiles where the noise is too much for so few rows: {first_of(untold, _SHOWN, 'columns')}"


def numbers(description: DescriptionResult) -> list[list[str]]:
    """Return the rows of the table of numbers, as `NUMBERS` says."""
    return [
        [
            _named(column),
            _count(column.rows),
            share(column.missing),
            mean_of(column),
            number(column.std),
            *(value_of(end, column.unit) for end in column.quantiles or (None,) * len(QUANTILES)),
        ]
        for column in description.columns
        if column.kind == "continuous"
    ]


def categories(description: DescriptionResult) -> list[list[str]]:
    """Return the rows of the table of categories, as `CATEGORIES` says; of many only the most frequent are named."""
    rows = []
    for column in description.columns:
        if column.kind != "categorical":
            continue
        held = column.rows or 0
        parts = [f"{entry.value} {share(entry.rows / held if held else None)}" for entry in column.categories]
        if column.unpublished:
            parts.append(f"unpublished {share(column.unpublished / held)}")
        name = f"{column.name} (target)" if column.name == description.target else column.name
        rows.append([name, _count(column.rows), share(column.missing), first_of(parts, _SHOWN, "categories")])
    return rows


def seen(description: DescriptionResult) -> dict[str, list[Balanced]]:
    """Return the rows by class, by column, without categories and stretches that may be noise alone."""
    least = 3 * description.noise.get("balance", 0.0) * math.sqrt(len(description.classes))
    found: dict[str, list[Balanced]] = {}
    for entry in balance(description):
        if sum(entry.rows) > least:
            found.setdefault(entry.column, []).append(entry)
    return found


def balance(description: DescriptionResult) -> Iterator[Balanced]:
    """Yield the rows by class of each category, or stretch, of each column that were counted."""
    for column in description.columns:
        for entry in column.balance:
            yield Balanced(column.name, cell_of(entry, column.unit), entry.rows)


def cell_of(entry: BalanceRows, unit: str = "") -> str:
    """Return which rows they are, in words; numbers in this unit, which may be that of dates."""
    if entry.missing:
        return "missing"
    return (
        str(entry.value) if entry.value is not None else f"{value_of(entry.low, unit)} to {value_of(entry.high, unit)}"
    )


def tables(description: DescriptionResult) -> Iterator[Table]:
    """Yield the tables for a terminal: numbers, categories, and rows by class."""
    for title, heads, rows in (
        ("numbers", NUMBERS, numbers(description)),
        ("categories", CATEGORIES, categories(description)),
    ):
        if rows:
            yield _table(title, heads, rows, words={0, 3} if heads is CATEGORIES else {0})
    if any(column.balance for column in description.columns):
        heads = ("column", "of", *description.classes)
        table = _table(f"rows by {description.target}", heads, [], words={0, 1})
        for column, entries in seen(description).items():
            fullest = sorted(sorted(entries, key=lambda entry: -sum(entry.rows))[:_MOST_CELLS], key=entries.index)
            for place, entry in enumerate(fullest):
                table.add_row("" if place else column, entry.cell, *map(rows_and_share, entry.rows, entry.shares))
            if more := len(entries) - len(fullest):
                table.add_row("", f"{more} more")
            table.add_section()
        yield table


def mean_of(column: ColumnDescription) -> str:
    """Return the mean and what noise adds to it or takes from it."""
    if column.mean is None:
        return "-"
    return f"{value_of(column.mean, column.unit)} ±{number(float(f'{column.mean_error or 0:.1g}'))}"


def value_of(value: float | None, unit: str) -> str:
    """Return a number in its unit as people read it, with four digits at the least: as a date where it is one."""
    date = unit_in(unit)
    return shown(value, date) if date and value is not None else number(value)


def number(value: float | None) -> str:
    """Return a figure with four digits at the least, "-" where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def rows_and_share(rows: int, part: float | None) -> str:
    """Return a count by class and its share."""
    return f"{rows:,} ({share(part)})" if rows else FEW


def share(value: float | None) -> str:
    """Return a share in hundredths, "-" where there is none."""
    return "-" if value is None else f"{value:.1%}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _named(column: ColumnDescription) -> str:
    unit = unit_in(column.unit) or column.unit  # of a date, that of mean's error and deviation
    return f"{column.name} ({unit})" if unit else column.name


def _table(title: str, heads: tuple[str, ...], rows: list[list[str]], words: set[int]) -> Table:
    table = Table(title=one_line(title), title_justify="left")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place in words else "right")
    for row in rows:
        table.add_row(*row)
    return table
