"""How the sums of a final evaluation become the importance of columns."""

from collections.abc import Mapping

from fl_app.flower.names import TEST_PREFIX
from fl_app.replica.tabular import counts_in, errors_in, rises_in
from fl_app.secagg.codec import Aggregate
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import MAX_LOSS
from fl_app.tabular.importance import Rises, table_columns
from fl_app.tabular.intervals import of_rise
from fl_app.tabular.regression import NumericTarget, place_of_loss
from server.app.importance_result import ColumnImportance, ImportanceResult

Figures = Mapping[str, tuple[int, float]]
"""Fields of `ColumnImportance`: of which of a row's two errors each is the mean rise, and in units of what."""


def importance_of(sums: Aggregate, encoding: Encoding, why_not: str) -> ImportanceResult:
    """Return the importance of each column in the sums of a final evaluation.

    Parameters
    ----------
    why_not : str
        Why no rows are counted, where none are.
    """
    rows, figures = _of_numbers(sums, encoding.numeric) if encoding.numeric else _of_classes(sums)
    if not rows:
        return ImportanceResult(why=why_not or "no test row of the pods is counted")
    told = zip(table_columns(encoding), rises_in(sums, encoding), strict=True)
    columns = [_column(name, rises, rows, figures) for name, rises in told]
    return ImportanceResult(columns=tuple(sorted(columns, key=lambda column: -column.loss_rise)), rows=rows)


def _of_classes(sums: Aggregate) -> tuple[int, Figures]:
    """Return how many rows are counted, and what is told of them."""
    return counts_in(sums, TEST_PREFIX).scored, {"loss_rise": (0, MAX_LOSS), "accuracy_drop": (1, 1.0)}


def _of_numbers(sums: Aggregate, target: NumericTarget) -> tuple[int, Figures]:
    """Return the same of a target that is a number."""
    errors, deviations = errors_in(sums, TEST_PREFIX), (target.groups[-1] - target.groups[0]) / target.std
    loss, variance = place_of_loss(target), errors.variance
    figures = {"loss_rise": (loss, deviations**2 if target.loss == "squared" else deviations)}
    return errors.rows, {**figures, **({} if variance is None else {"r2_drop": (1, 1 / variance)})}


def _column(name: str, rises: Rises, rows: int, figures: Figures) -> ColumnImportance:
    means, intervals = dict[str, float](), dict[str, tuple[float, float]]()
    for figure, (place, unit) in figures.items():
        total, squares = rises[place].tolist()
        means[figure] = unit * total / rows
        if ends := of_rise(unit * total, unit * unit * squares, rows):
            intervals[figure] = ends
    return ColumnImportance(column=name, intervals=intervals, **means)
