"""A cross-validation as rows: each fold's figures, then their mean and deviation, and those of all rows together."""

from collections.abc import Iterator

from rich.table import Table

from fl_app.validation import counted
from server.display.words import METRICS, NUMERIC_METRICS, number
from server.modeller.folds.directory import CrossValidation

POOLED = "all rows"
SPREAD = "the standard deviation is that of single folds: their models share rows, so it is no error of the mean"


def metrics_named(validation: CrossValidation) -> tuple[str, ...]:
    """Return the names of its metrics: those of classes, or of a numeric target."""
    numeric = any(run.figures and run.figures.r2 is not None for run in validation.runs)
    return tuple(validation.metrics) or (NUMERIC_METRICS if numeric else METRICS)


def heads(validation: CrossValidation) -> list[str]:
    """Return the heads of the columns."""
    return ["fold", *metrics_named(validation), "rows"]


def rows(validation: CrossValidation) -> Iterator[list[str]]:
    """Yield the cells of each row: a completed fold, and, once all are, what they come to together."""
    names = metrics_named(validation)
    for run in validation.completed:
        if run.figures:
            figures = [number(getattr(run.figures, name)) for name in names]
            yield [f"{run.fold} of {validation.folds}", *figures, f"{run.figures.num_examples or 0:,}"]
    if validation.metrics:
        spreads = [validation.metrics[name] for name in names]
        yield ["mean", *(number(spread.mean) for spread in spreads), ""]
        yield ["standard deviation", *(number(spread.std) for spread in spreads), ""]
        yield [POOLED, *(number(spread.pooled) for spread in spreads), f"{validation.rows:,}"]


def held_out(validation: CrossValidation) -> str:
    """Return what the figures are of, in a sentence; "" before all runs are completed."""
    if not validation.metrics:
        return ""
    return f"each of {counted(validation.rows, 'row')} was held out once, of all pods together; {SPREAD}"


def folds_table(validation: CrossValidation) -> Table:
    """Return the table of a cross-validation."""
    table = Table(title=f"{validation.folds_id}: held-out rows of all pods", title_justify="left")
    for place, head in enumerate(heads(validation)):
        table.add_column(head, justify="right" if place else "left")
    shown = list(rows(validation))
    for place, cells in enumerate(shown):
        table.add_row(*cells, end_section=place + 1 == len(validation.completed) and bool(validation.metrics))
    return table
