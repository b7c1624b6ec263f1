"""The importance of a run's columns, as rows of a table."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from fl_app.validation import counted
from server.app.importance_result import ColumnImportance, ImportanceResult
from server.display.plain_console import PlainConsole
from server.display.words import INTERVAL

MOST_SHOWN = 30
"""Columns at most in a table or a picture: those behind add little."""
_FIGURES = {"loss_rise": "rise of the loss", "accuracy_drop": "drop of accuracy", "r2_drop": "drop of R2"}


def heads(result: ImportanceResult) -> list[str]:
    """Return the heads of the table's columns."""
    return ["column", *(head for name in _shown(result) for head in (_FIGURES[name], INTERVAL))]


def rows(result: ImportanceResult) -> Iterator[list[str]]:
    """Yield the cells of each column, as far as they are shown."""
    for column in most_important(result):
        cells = [(getattr(column, name), column.intervals.get(name)) for name in _shown(result)]
        yield [column.column, *(text for value, ends in cells for text in (_number(value), _interval(ends)))]


def most_important(result: ImportanceResult) -> Sequence[ColumnImportance]:
    """Return the columns that are shown, the most important first."""
    return result.columns[:MOST_SHOWN]


def importance_told(result: ImportanceResult) -> Iterator[str]:
    """Yield what is to be known of these figures, a sentence each."""
    if not result.columns:
        yield f"no importance of columns: {result.why}"
        return
    yield (
        f"of {counted(result.rows, 'test row')} of the pods: how much worse the model is where the values of a column "
        "are shuffled among each pod's rows"
    )
    if (more := len(result.columns) - MOST_SHOWN) > 0:
        yield f"{counted(more, 'column')} of less importance in results.json"


def importance_table(result: ImportanceResult) -> Table:
    """Return the table of the columns, the most important first."""
    table = Table(title="importance of columns", title_justify="left")
    for place, head in enumerate(heads(result)):
        table.add_column(head, justify="right" if place else "left")
    for cells in rows(result):
        table.add_row(*cells)
    return table


def show_importance(out: PlainConsole, result: ImportanceResult | None) -> None:
    """Print the importance of columns, where a run has been asked for it."""
    if result is None:
        return
    if result.columns:
        out.print(importance_table(result))
    for told in importance_told(result):
        out.print(told, highlight=False)


def _shown(result: ImportanceResult) -> list[str]:
    """Return the figures that the columns have."""
    return [name for name in _FIGURES if any(getattr(column, name) is not None for column in result.columns)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 4) + 0.0:.4f}"  # zero has no sign


def _interval(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{_number(ends[0])} to {_number(ends[1])}"
