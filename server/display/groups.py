"""The figures of a run by group, as rows of a table."""

from collections.abc import Iterator

from rich.table import Table

from server.app.group_result import GroupResult, GroupRow
from server.display.plain_console import PlainConsole
from server.display.words import INTERVAL, interval_told, number

REST = "all others"
_FIGURES = {
    "accuracy": "accuracy",
    "auc": "auc",
    "selection_rate": "selection rate",
    "tpr": "true positive rate",
    "fpr": "false positive rate",
}


def heads(result: GroupResult) -> list[str]:
    """Return the heads of the columns, that of the groups first."""
    return [result.column, *(_FIGURES[name] for name in _shown(result)), "rows"]


def rows(result: GroupResult) -> Iterator[list[str]]:
    """Yield the cells of each group, and of the row with its confidence intervals."""
    for group in result.groups:
        figures = [number(getattr(group, name)) for name in _shown(result)]
        yield [REST if group.value is None else group.value, *figures, f"{group.rows:,}"]
        if group.intervals:
            yield [INTERVAL, *(_interval(group, name) for name in _shown(result)), ""]


def groups_told(result: GroupResult) -> Iterator[str]:
    """Yield what is to be known of these figures, a sentence each."""
    if not result.groups:
        yield f"no figures by {result.column}: {result.why}"
    elif result.positive is not None:
        yield f"rows are selected where {result.positive!r} is their most probable class"
    if result.groups and result.not_told:
        named = ", ".join(map(repr, result.not_told))
        yield f"too few pods have rows enough of {named}, or too few would be left: they are among {REST}"
    if largest := max((group.auc_error or 0.0 for group in result.groups), default=0.0):
        yield f"the groups' auc is within {largest:.3f} of the exact one"


def groups_table(result: GroupResult) -> Table:
    """Return the table of the figures by group."""
    table = Table(title=f"pods' test rows by {result.column}", title_justify="left")
    for place, head in enumerate(heads(result)):
        table.add_column(head, justify="right" if place else "left")
    for cells in rows(result):
        table.add_row(*cells)
    return table


def show_groups(out: PlainConsole, result: GroupResult | None) -> None:
    """Print the figures by group, where a run has been asked for them."""
    if result is None:
        return
    if result.groups:
        out.print(groups_table(result))
    for told in groups_told(result):
        out.print(told, highlight=False)


def _shown(result: GroupResult) -> list[str]:
    """Return the figures that are shown: those of one class only where there is one."""
    return [name for name in _FIGURES if result.positive is not None or name in ("accuracy", "auc")]


def _interval(group: GroupRow, name: str) -> str:
    ends = group.intervals.get(name)
    return "" if ends is None else interval_told(ends)
