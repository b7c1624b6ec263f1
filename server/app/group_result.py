"""What results.json says of a run's test rows by group."""

from collections.abc import Mapping

from pydantic import Field

from server.app.document import Document, written

Number = float | None


class GroupRow(Document):
    """The test rows of one group."""

    model_config = written("value", "rows")

    value: str | None = None
    """The category; null for all other rows together: those of categories that are too few to be told apart, and
    those without a value that a pod publishes."""
    rows: int = 0
    """Rows counted, of all pods together."""
    accuracy: Number = None
    auc: Number = None
    """Of the pairs of rows of this group."""
    auc_error: Number = None
    """The AUC's largest error, as rows whose scores share a cell count as ties."""
    selection_rate: Number = None
    """Share of the rows that are predicted to be of the class `GroupResult.positive`."""
    tpr: Number = None
    """Of the rows of that class, the share that is predicted to be: the true positive rate, or recall."""
    fpr: Number = None
    """Of all other rows, the share that is predicted to be of that class: the false positive rate."""
    intervals: Mapping[str, tuple[float, float]] = Field(default_factory=dict)
    """95% confidence intervals of those that have one; see `fl_app.tabular.intervals`."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """True classes down, predicted classes across."""


class GroupResult(Document):
    """The run's model on the test rows of all pods together, by the category of one column."""

    model_config = written("column", "groups")

    column: str = ""
    positive: str | None = None
    """The class that selection and the two rates are of; null: there is none, of more than two classes."""
    groups: tuple[GroupRow, ...] = ()
    not_told: tuple[str, ...] = ()
    """Categories that are among the other rows: too few pods have rows enough of them."""
    why: str = ""
    """Why there are no groups; empty where there are."""
