"""What results.json says of a description of the pods' tables: figures of each column, all from sums over the pods."""

from pydantic import Field

from server.app.document import Document, written

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The shares of rows below the quantiles that are given."""


class CategoryRows(Document):
    """Rows of one category."""

    model_config = written("value", "rows")

    value: str
    rows: int


class BalanceRows(Document):
    """Rows by class of one category, or of one stretch of a number."""

    model_config = written("rows")

    value: str | None = None
    """The category; null for a stretch of a number."""
    low: float | None = None
    high: float | None = None
    """The ends of the stretch, which is without ``high`` but for the last; of whole numbers the first and the last."""
    missing: bool = False
    """Whether these are the rows without a value."""
    rows: tuple[int, ...]
    """In the order of `DescriptionResult.classes`."""


class ColumnDescription(Document):
    """One column over all pods together; what noise leaves nothing of is null."""

    model_config = written("name", "kind", "pods")

    name: str
    kind: str
    """"categorical" or "continuous"."""
    unit: str = ""
    whole: bool = False
    """Whether all of a column's numbers are whole."""
    pods: int
    """How many pods publish it."""
    rows: int | None = None
    """Rows with a value: of a number those that are trained on, of categories all."""
    missing: float | None = None
    """Share of the rows without a value, from 0 to 1."""
    mean: float | None = None
    mean_error: float | None = None
    """Standard deviation of the noise in the mean, at the most."""
    std: float | None = None
    """Standard deviation; null where noise could be most of it."""
    quantiles: tuple[float, ...] = ()
    """By `QUANTILES`; empty where noise leaves nothing of them."""
    rank_error: float | None = None
    """Standard deviation of the noise in the share of rows below a quantile, at the most."""
    low: float | None = None
    high: float | None = None
    """The published bounds of a number, which are not its extremes."""
    histogram_edges: tuple[float, ...] = ()
    histogram_rows: tuple[int, ...] = ()
    """Rows between two edges; those beyond the outermost are in no count."""
    categories: tuple[CategoryRows, ...] = ()
    """The published ones, the most frequent first."""
    unpublished: int = 0
    """Rows of categories that no pod publishes, since too few rows have them."""
    balance: tuple[BalanceRows, ...] = ()


class DescriptionResult(Document):
    """The pods' tables as one, in figures."""

    model_config = written("rows", "columns")

    rows: int = 0
    """Of all pods together, give or take the noise."""
    train_rows: int = 0
    """Those of them that are trained on."""
    target: str | None = None
    classes: tuple[str, ...] = ()
    """The target's values that enough pods publish, in the order of `BalanceRows.rows`."""
    columns: tuple[ColumnDescription, ...] = ()
    noise: dict[str, float] = Field(default_factory=dict)
    """Standard deviation of the noise at the most, in "rows", in counts by category ("categories") and by class
    ("balance")."""
