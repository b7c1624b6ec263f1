"""Describing the pods' tables before anything is trained: figures of each column from secure sums."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_app.config import RunConfig
from fl_app.federation.kinds import Federation
from fl_app.flower.protocol_settings import Timing
from fl_app.tabular.column_spec import ColumnSpec
from fl_app.tabular.settings import DataStructure
from server.app.description_result import QUANTILES, DescriptionResult
from server.app.run_directory import RunDirectory
from server.display.description import balance, categories, numbers, told
from server.modeller.launch import Follow
from server.modeller.launch import fit as carry_out
from server.modeller.schema_discovery import federation_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Description:
    """What the pods' tables hold together; a notebook shows it as a table.

    Attributes
    ----------
    result : DescriptionResult
        All figures, as results.json has them.
    run_directory : Path
        The directory of the run.
    """

    result: DescriptionResult
    run_directory: Path

    @property
    def rows(self) -> int:
        """Rows of all pods together, give or take the noise."""
        return self.result.rows

    @property
    def frame(self) -> "pd.DataFrame":
        """One row for each column, missing where a column has none or noise leaves nothing of it.

        It has kind, unit, pods, rows, missing, mean, std, the quantiles ("5%" to "95%"), top and top_rows.
        """
        import pandas as pd

        heads = [f"{share:.0%}" for share in QUANTILES]
        rows = [
            {
                "column": column.name,
                "kind": column.kind,
                "unit": column.unit,
                "pods": column.pods,
                "rows": column.rows,
                "missing": column.missing,
                "mean": column.mean,
                "std": column.std,
                **dict(zip(heads, column.quantiles or (None,) * len(heads), strict=True)),
                "top": column.categories[0].value if column.categories else None,
                "top_rows": column.categories[0].rows if column.categories else None,
            }
            for column in self.result.columns
        ]
        return pd.DataFrame(rows).set_index("column")

    @property
    def categories(self) -> "pd.DataFrame":
        """Rows by category: column, value, rows, share of the column's rows with a value."""
        import pandas as pd

        rows = [
            (column.name, entry.value, entry.rows, entry.rows / column.rows if column.rows else None)
            for column in self.result.columns
            for entry in column.categories
        ]
        return pd.DataFrame(rows, columns=["column", "value", "rows", "share"])

    @property
    def balance(self) -> "pd.DataFrame":
        """Rows by class of each category, or stretch of a number: column, cell, class, rows, share of the cell's rows.

        It is empty without a target.
        """
        import pandas as pd

        rows = [
            (entry.column, entry.cell, label, count, part)
            for entry in balance(self.result)
            for label, count, part in zip(self.result.classes, entry.rows, entry.shares, strict=True)
        ]
        return pd.DataFrame(rows, columns=["column", "cell", "class", "rows", "share"])

    def report(self) -> Path:
        """Write the page with the pictures into the run's directory, and return its path."""
        from server.display.report import write_report

        return write_report(RunDirectory(self.run_directory))[0]

    def _repr_html_(self) -> str:
        html: str = self.frame.to_html(float_format="{:.4g}".format, na_rep="-")
        return html

    def __str__(self) -> str:
        lines = [*told(self.result), *("  ".join(row) for row in (*numbers(self.result), *categories(self.result)))]
        return "\n".join(lines)


def describe(
    federation: str | Federation | None = None,
    *,
    pod_identifiers: Sequence[str] | None = None,
    target: str | None = None,
    selected_cols: Sequence[str] | None = None,
    ignore_cols: Sequence[str] = (),
    columns: ColumnSpec | None = None,
    runs: str | Path = "runs",
    hello_timeout: float = Timing.hello,
    step_timeout: float = Timing.step,
) -> Description:
    """Describe the pods' tables as one, from sums over the pods with noise that hides single rows.

    Parameters
    ----------
    federation
        A federation, or its name as for ``--federation``; None: the nearest, see `find_federation`.
    pod_identifiers
        The pods' names; None: all of the federation's.
    target
        A column of classes: rows are counted by class in each category and each stretch of a number too.
    selected_cols, ignore_cols
        The columns to describe, None for all, and those to leave out.
    columns
        What is proposed to the pods for their columns, as to `combine_pod_schemas`.
    runs
        The directory in which the run directory is made.
    hello_timeout, step_timeout
        Seconds to wait for the pods to connect, and for their sums.

    Raises
    ------
    UsageError
        If the settings are wrong.
    DataError
        If the target or a selected column cannot be used; others that do not fit are left out.
    RunFailed
        If a pod refuses, is missing or was lost.
    """
    from server.display.progress import Progress
    from server.modeller.loggers import progress_console

    over = federation_of(federation)
    config = description_config(
        over.pod_identifiers if pod_identifiers is None else pod_identifiers,
        target=target,
        selected_cols=selected_cols,
        ignore_cols=ignore_cols,
        columns=columns,
        hello_timeout=hello_timeout,
        step_timeout=step_timeout,
    )
    with Progress(progress_console()) as progress:
        run = described(config, over, Path(runs), progress)
    return Description(run.results().description or DescriptionResult(), run.path)


def description_config(
    pods: Sequence[str],
    *,
    target: str | None = None,
    selected_cols: Sequence[str] | None = None,
    ignore_cols: Sequence[str] = (),
    columns: ColumnSpec | None = None,
    **settings: Any,
) -> RunConfig:
    """Return the settings of a run that describes the pods' tables."""
    datastructure = DataStructure(target=target or "", selected_cols=selected_cols, ignore_cols=ignore_cols)
    return RunConfig(
        pods=tuple(pods),
        datastructure=datastructure,
        columns=columns,
        describes=True,
        rounds=1,
        local_epochs=1,
        **settings,
    )


def described(config: RunConfig, federation: Federation, runs: Path, follow: Follow | None = None) -> RunDirectory:
    """Carry the run out and return its directory; raises as `fit` does."""
    return carry_out(config, federation, runs=runs, follow=follow)
