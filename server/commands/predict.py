"""``fl-app predict``."""

import sys
from pathlib import Path

import click

from server.commands.output import read_options_option, runs_option


@click.command(epilog="Example: fl-app predict model.safetensors patients.csv -o scores.csv")
@click.argument("model")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: standard output]")
@read_options_option
@runs_option
def predict(model: str, table: Path, output: Path | None, read_options: str, runs: str) -> None:
    """Score the rows of TABLE, a CSV or Parquet file, and write their class probabilities as CSV, row by row.

    The file is read as the pods read theirs: its separator is seen in its header; numbers and missing values are
    written as in the pods' files, unless --read-options say otherwise.

    MODEL is a .safetensors, .pt, .onnx or .pt2 file that fl-app has written, a run's directory, its name, or `latest`.
    Opening a .pt2 file can run code in it: open only files you trust.
    """
    import pandas as pd

    from fl_app.errors import DataError, UsageError
    from fl_app.tabular.read_options import options_in
    from fl_app.tabular.table_file import read_rows
    from server.app.run_directory import find_model
    from server.exports.formats import open_scorer

    scorer = open_scorer(find_model(model, Path(runs)))
    rows = read_rows(table, scorer.encoding, options_in(read_options) if read_options else None)
    try:
        scores = pd.DataFrame(scorer.predict_proba(rows), columns=list(scorer.classes))
    except DataError as error:
        raise DataError(f"{table}: {error}", detail=error.detail) from error
    try:
        scores.to_csv(output or sys.stdout, index=False, float_format="%.9g")
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {error.strerror or error}") from error
    if output:
        from server.display.words import counted

        click.echo(f"{counted(len(scores), 'row')} scored: {output}", err=True)
