"""``python -m benchmarks.tables``, which ``make study-tables`` calls: train, and write docs/tables.md.

Tables are saved as they finish, so a study that was interrupted goes on where it stopped.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.children import CHECKOUT
from benchmarks.tables.page import Entry, text
from benchmarks.tables.rows import measure
from benchmarks.tables.sources import SOURCES
from fl_app.cli import main
from fl_app.system.files import replace_file

FILE = "tables.json"


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m benchmarks.tables --csv build/tables",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=CHECKOUT / "docs",
    help="Where tables.md and study/ are written  [default: docs]",
)
@click.option(
    "--csv",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the tables there, a directory for each with a file for each pod and the test file; train nothing.",
)
def study(output: Path, csv: Path | None) -> None:
    """Train on the tables that OUTPUT/study/tables.json lacks, with the settings that follow from them."""
    if csv:
        _write_tables(csv)
        return
    path = output / "study" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    entries: list[Entry] = json.loads(path.read_text("utf-8")) if path.exists() else []
    for name in SOURCES:
        if name not in {entry["table"] for entry in entries}:
            entries.append(entry := measure(name))
            _save(entries, path)
            click.echo(f"{name}: {', '.join(format(run['auc'], '.4f') for run in entry['runs'])}", err=True)
    entries.sort(key=lambda entry: list(SOURCES).index(entry["table"]))
    _save(entries, path)
    replace_file(output / "tables.md", text(entries).encode())
    click.echo(text(entries))


def _save(entries: Sequence[Entry], path: Path) -> None:
    replace_file(path, (json.dumps(entries, indent=1) + "\n").encode())


def _write_tables(directory: Path) -> None:
    for name, made in SOURCES.items():
        source, into = made(), directory / name
        into.mkdir(parents=True, exist_ok=True)
        for file, rows in {**source.pods, "test": source.test}.items():
            rows.to_csv(into / f"{file}.csv.gz", index=False)


if __name__ == "__main__":
    main(command=study, name="python -m benchmarks.tables")
