"""What results.json says of the importance of columns."""

from collections.abc import Mapping

from pydantic import Field

from server.app.document import Document, written

Number = float | None


class ColumnImportance(Document):
    """How much worse the run's model is with one column shuffled."""

    model_config = written("column", "loss_rise")

    column: str
    """Of the table; a date and its parts are one."""
    loss_rise: float
    """How much larger the mean loss is."""
    accuracy_drop: Number = None
    """How much less the accuracy is; null where the target is a number."""
    r2_drop: Number = None
    """How much less R2 is; null where classes are learnt, or where R2 is not defined."""
    intervals: Mapping[str, tuple[float, float]] = Field(default_factory=dict)
    """95% confidence intervals of these, by their names, from how unlike the rows are; none of fewer than 50 rows."""


class ImportanceResult(Document):
    """How much worse the run's model is on the pods' test rows once a column's values are shuffled among each pod's."""

    model_config = written("columns", "rows")

    columns: tuple[ColumnImportance, ...] = ()
    """Every column that was learnt from, that with the largest rise of the loss first."""
    rows: int = 0
    """Rows counted, of all pods together."""
    why: str = ""
    """Why there are no columns; empty where there are."""
