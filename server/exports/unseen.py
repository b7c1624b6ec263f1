"""What of a table to be scored the model cannot use: values that it never saw, and columns that hold nothing for it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fl_app.tabular.cells import Table
from fl_app.tabular.encoding import MISSING, UNKNOWN, Encoding, codes_of
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import is_absent
from fl_app.validation import counted, first_of

SHOWN = 3
LOUD_ROWS = 10
"""With fewer rows than this, a column without a usable value is nothing out of the ordinary."""


@dataclass(frozen=True)
class Unseen:
    """What is to be told of one column.

    Attributes
    ----------
    column : str
        Its name.
    text : str
        A sentence, for the table's owner: it may quote cells.
    loud : bool
        Whether no row has a value that the model can use, so that something is wrong with the file.
    """

    column: str
    text: str
    loud: bool


def unseen(table: Table, encoding: Encoding) -> list[Unseen]:
    """Return what is to be told of a table's columns before its scores are trusted, in the features' order."""
    return [told for column in encoding.features if not column.part for told in _of_column(table, column)]


def _of_column(table: Table, column: Column) -> Iterator[Unseen]:
    rows, name = len(table), column.name
    if is_absent(table, column):
        yield Unseen(name, f"{name}: the table lacks this optional column; it counts as missing", loud=False)
        return
    if column.kind == "categorical":
        codes = codes_of(table, column)
        missing, odd = int((codes == MISSING).sum()), int((codes == UNKNOWN).sum())
        what = f"a value that the model never saw: {_texts(table, column)}" if odd else ""
    else:
        numbers = table.numbers_of(name, column.missing, column.date)
        low, high = column.bounds
        outside = (numbers < low) | (numbers > high)
        missing, odd = int(np.isnan(numbers).sum()), int(outside.sum())
        what = f"a {'date' if column.date else 'number'} outside {column.range}, taken for the nearer of the two"
    loud = rows >= LOUD_ROWS and missing + odd == rows
    if loud and missing == rows:
        yield Unseen(name, f"{name}: every cell is missing", loud=True)
    elif odd:
        yield Unseen(name, f"{name}: {odd:,} of {counted(rows, 'cell')} {'hold' if odd > 1 else 'holds'} {what}", loud)


def _texts(table: Table, column: Column) -> str:
    """Quote the most frequent values that the model does not know, with their numbers of rows."""
    indices, texts = table.texts(column.name, column.missing)
    wrong = indices[codes_of(table, column) == UNKNOWN]
    counts = Counter({texts[place]: int(count) for place, count in enumerate(np.bincount(wrong)) if count})
    return first_of([f"{text!r:.60} ({count:,})" for text, count in counts.most_common()], SHOWN)
