"""``python -m benchmarks.joining``, which ``make study`` calls: train the study's rows, and write docs/study.md.

The private runs of `benchmarks.privacy` are a section of the same page.
Rows are saved as they finish, so a study that was interrupted goes on where it stopped. ``--jobs 2`` trains two rows
at a time; what a row gives does not depend on it.
"""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.children import CHECKOUT
from benchmarks.joining import page, plots
from benchmarks.joining.rows import Row, measure
from benchmarks.joining.study import SMALL, STUDY
from benchmarks.privacy.entries import read, train_missing
from benchmarks.privacy.page import section, write_picture
from fl_app.cli import main
from fl_app.system.files import replace_file

Entry = dict[str, Any]


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m benchmarks.joining --page",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=CHECKOUT / "docs",
    help="Where study.md and study/ are written  [default: docs]",
)
@click.option("--page", "page_only", is_flag=True, help="Write the page of the rows there are; train nothing.")
@click.option("--small", is_flag=True, help="Train one small row and print it as JSON; write nothing.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Rows trained at a time.")
def study(output: Path, page_only: bool, small: bool, jobs: int) -> None:
    """Measure what joining pods is worth: train what OUTPUT/study/*.json lack, and write the page."""
    if small:
        click.echo(json.dumps(measure(SMALL)))
        return
    directory = output / "study"
    directory.mkdir(parents=True, exist_ok=True)
    results = directory / "results.json"
    entries: list[Entry] = json.loads(results.read_text()) if results.exists() else []
    if not page_only:
        _train_missing(entries, results, jobs)
        entries = _in_order(entries)
        _save(entries, results)
    private = read(directory) if page_only else train_missing(directory)
    plots.write(entries, directory)
    write_picture(private, directory)
    replace_file(output / "study.md", page.text(entries, section(private)).encode())


def _train_missing(entries: list[Entry], results: Path, jobs: int) -> None:
    """Train the rows that ``entries`` lacks, and append each as it finishes, there and in the file ``results``."""
    known = [entry["row"] for entry in entries]
    for entry in _train([row for row in STUDY if asdict(row) not in known], jobs):
        entries.append(entry)
        _save(entries, results)
        outcome = f"{entry['row']}: {entry['secure']['auc']:.4f} in {entry['seconds']:.0f} s"
        click.echo(f"{len(entries)}/{len(STUDY)} {outcome}", err=True)


def _train(rows: Sequence[Row], jobs: int) -> Iterator[Entry]:
    """Yield the figures of each row as it finishes."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(measure, rows)


def _save(entries: Sequence[Entry], results: Path) -> None:
    replace_file(results, (json.dumps(entries, indent=1) + "\n").encode())


def _in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Return the study's rows in the study's order, and none that it no longer has."""
    by_row = {json.dumps(entry["row"]): entry for entry in entries}
    return [by_row[key] for row in STUDY if (key := json.dumps(asdict(row))) in by_row]


if __name__ == "__main__":
    main(command=study, name="python -m benchmarks.joining")
