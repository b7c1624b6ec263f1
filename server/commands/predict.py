"""``fl-app predict``."""

import os
import sys
from pathlib import Path

import click

from fl_app.host.echo import echo
from server.commands.output import network_option, read_options_option, runs_option


@click.command(epilog="Example: fl-app predict model.safetensors patients.csv -o scores.csv")
@click.argument("model")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: standard output]")
@click.option("--id", "identifier", metavar="COLUMN", help="Begin each row with this column of TABLE, as it is there.")
@click.option(
    "--classes",
    is_flag=True,
    help="End each row with its class, in a column `class`, by the run's threshold.",
)
@network_option
@read_options_option
@runs_option
def predict(
    model: str,
    table: Path,
    output: Path | None,
    identifier: str | None,
    classes: bool,
    network: Path | None,
    read_options: str,
    runs: str,
) -> None:
    """Score the rows of TABLE, a CSV or Parquet file, and write their class probabilities as CSV, row by row.

    Where the model's target is a number, one column of predictions is written, in the target's unit.

    The file is read as the pods read theirs: its separator is seen in its header; numbers and missing values are
    written as in the pods' files, unless --read-options say otherwise. Values that the model never saw are counted on
    standard error, and a column without any that it knows is warned of.

    MODEL is a .safetensors, .pt, .onnx or .pt2 file that fl-app has written, a run's directory, its name, or `latest`.
    Opening a .pt2 file can run code in it: open only files you trust.
    """
    import numpy as np
    import pandas as pd

    from fl_app.errors import DataError, UsageError
    from fl_app.tabular.network_source import read_source
    from fl_app.tabular.read_options import is_parquet, options_in
    from fl_app.tabular.table_file import read_rows
    from fl_app.tabular.threshold import chosen
    from server.app.run_directory import find_model
    from server.exports.about import predicted_column
    from server.exports.formats import open_scorer
    from server.exports.unseen import unseen

    scorer = open_scorer(find_model(model, Path(runs)), read_source(network) if network else None)
    options = options_in(read_options, parquet=is_parquet(table)) if read_options else None
    rows = read_rows(table, scorer.encoding, options)
    if identifier is not None and identifier not in rows.names:
        raise UsageError(f"--id: {table} has no column {identifier!r}; it has {', '.join(rows.names)}")
    if classes and not scorer.classes:
        raise UsageError(f"--classes: the model's target {scorer.encoding.target.name!r} is a number")
    try:
        if scorer.classes:
            scores = pd.DataFrame(scorer.predict_proba(rows), columns=list(scorer.classes))
        else:
            scores = pd.DataFrame({predicted_column(scorer.encoding): scorer.predict(rows)})
    except DataError as error:
        detail = f"{error.detail} (in --read-options)" if error.detail else ""
        raise DataError(f"{table}: {error}", detail=detail) from error
    # Names may stand twice: a class can be called as the identifier is.
    if classes:
        best = np.array(scorer.classes, dtype=object)[chosen(scores.to_numpy(), scorer.threshold)]
        scores.insert(len(scorer.classes), "class", best, allow_duplicates=True)
    if identifier is not None:
        scores.insert(0, identifier, rows.written(identifier), allow_duplicates=True)
    for told in unseen(rows, scorer.encoding):
        echo(f"{'WARNING: ' if told.loud else ''}{told.text}", err=True)
    try:
        scores.to_csv(output or sys.stdout, index=False, float_format="%.9g")
    except BrokenPipeError:  # whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {error.strerror or error}") from error
    if output:
        from fl_app.validation import counted

        echo(f"{counted(len(scores), 'row')} scored: {output}", err=True)
