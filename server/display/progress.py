"""A run's progress on a console: one line a round, and a table at the end."""

from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.table import Table

from server.app.results import AggregationResult, Results, RoundResult
from server.display.live import display_for
from server.display.privacy_told import NOISE, privacy_line, spreads
from server.display.rows_told import differences_told, rows_told
from server.display.run_status import Clock
from server.display.scored_rows import figures_told
from server.display.training_told import comparison_told, training_told
from server.display.words import INTERVAL, metrics_by_rows, metrics_named, number, ranges, traffic

_BARE_LINES = 10
"""Lines at most, about, for the rounds of a private run without a public test file."""


class Progress:
    """Follows a run's results: a line for each round as it completes, and the status meanwhile.

    Parameters
    ----------
    console : Console
        Where to show it; `server.display.live` says in what form.
    verbose : bool
        Whether to list the differences between the pods' tables, rather than to count them.
    """

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._verbose, self._told = verbose, False
        self._display = display_for(console)
        self._clock = Clock()
        self._shown = self._of = self._noted = self._skipped = 0
        self._compared = self._ended = False

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def __call__(self, results: Results) -> None:
        """Show what is new in ``results``; of a run that was resumed, from the round it was resumed after."""
        self._of = (results.step.of if results.step else 0) or self._of
        if (results.classes or results.regression) and results.label_counts and not self._told:
            self._told = True
            for text in _before_training(results, verbose=self._verbose):
                self._display.line(text)
        first = results.resumed[-1].after if results.resumed else 0
        known = [entry for entry in results.known if entry.round >= first]
        for entry in known[self._shown :]:
            if line := _line(results, entry, self._of or len(results.rounds)):
                self._display.line(line)
            self._shown += 1
        skipped = [entry for entry in results.skipped if entry.round > first]
        for left_out in skipped[self._skipped :]:
            self._display.line(f"round {left_out.round:>3}/{self._of}  skipped: {left_out.why}")
        self._skipped = len(skipped)
        compared = results.training and results.training.compared
        if compared and not self._compared:
            self._display.line(comparison_told(compared))
            self._compared = True
        if self._shown or not results.rounds or results.status == "completed":  # after the round that a note is about
            for note in results.notes[self._noted :]:
                self._display.line(f"note: {note}")
            self._noted = len(results.notes)
        if results.status == "completed" and not self._ended:
            self._ended = True
            for text in _end(results):
                self._display.line(text)
        if results.status in (None, "running"):
            self._display.status(self._clock.status(results))


def _before_training(results: Results, *, verbose: bool) -> list[str]:
    """Return what is said of the pods' tables once it is known."""
    lines, differences = [*rows_told(results), *filter(None, [training_told(results)])], differences_told(results)
    if differences and verbose:
        return [*lines, *(f"bridged: {text}" for text in differences)]
    if differences:
        plural = "s" if len(differences) > 1 else ""
        lines.append(f"{len(differences)} difference{plural} between the pods' tables bridged; --verbose lists them")
    return lines


def _end(results: Results) -> list[str]:
    lines = list(figures_told(results))
    if results.private:
        lines.append(f"privacy: {privacy_line(results.privacy)}; `fl-app report` says what that means")
    if stopped := results.stopped:
        lines.append(f"training ended with round {stopped.round}: {stopped.why}")
    if results.restored:
        lines.append(f"the model kept is that of round {results.kept}")
    aggregation = results.secure_aggregation or AggregationResult()
    cost = traffic(aggregation.bytes_out, aggregation.bytes_in)
    return [*lines, f"done in {results.seconds or 0:.1f} s: {cost}"]


def _line(results: Results, entry: RoundResult, total: int) -> str:
    """Return the line of a round; "" for most rounds of which nothing is known but that they are completed."""
    parts = [f"round {entry.round:>3}/{total}"]
    public = entry.test if entry.test and not entry.num_examples else None
    if public or entry.evaluated:
        parts += [f"{name} {number(getattr(public or entry, name))}" for name in _headline(results)]
        if public:
            parts[-1] += " (public test file)"
        elif entry.test and not results.private:
            name = "r2" if results.regression else "auc"
            parts.append(f"public test file {name} {number(getattr(entry.test, name))}")
    elif entry.round % max(1, total // _BARE_LINES):
        return ""
    if not results.private:
        parts.append(f"train loss {number(entry.train_loss)}")
    return "  ".join([*parts, f"{entry.seconds:.1f} s"])


def _headline(results: Results) -> tuple[str, ...]:
    return ("r2", "mae", "loss") if results.regression else ("accuracy", "auc", "loss")


ROUNDS_SHOWN = 10
"""Rounds that a run's table shows, about; the last one and the one whose model is kept are among them."""


def results_table(results: Results) -> Table:
    """Return the table of a run: a row for each round, on all pods' validation rows, then the final metrics.

    Of many rounds about ten are shown; results.json and the report have all.
    """
    table = Table(title=f"run {results.run_id}", title_justify="left")
    table.add_column("rows")
    names = metrics_named(results)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("examples", justify="right")
    apart = -(-len(results.rounds) // ROUNDS_SHOWN)
    rows = [
        row
        for row in metrics_by_rows(results)
        if row.round is None or row.round is results.rounds[-1] or _shown(results, row.round, apart)
    ]
    for index, (label, metrics, entry) in enumerate(rows):
        kept = results.restored and entry is not None and entry.round == results.kept
        last = entry is not None and (index + 1 == len(rows) or rows[index + 1].round is None)
        noised = bool(metrics.deviations)
        table.add_row(
            f"{label}, kept" if kept else label,
            *(number(getattr(metrics, name)) for name in names),
            "" if metrics.num_examples is None else str(metrics.num_examples),
            end_section=last and not noised,
        )
        if metrics.intervals:
            table.add_row(INTERVAL, *ranges(metrics, names))
        if noised:
            table.add_row(NOISE, *spreads(metrics), end_section=last)
    return table


def _shown(results: Results, entry: RoundResult, apart: int) -> bool:
    return entry.round % apart == 0 or (results.restored and entry.round == results.kept)


def matrix_table(rows: Sequence[Sequence[str]]) -> Table:
    """Return the approval matrix as a table: who approves whom."""
    table = Table(title="approvals", title_justify="left")
    for head in rows[0]:
        table.add_column(head)
    for row in rows[1:]:
        table.add_row(*row)
    return table
