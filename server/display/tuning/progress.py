"""A tuning's progress on a console: a line for each run, and the status meanwhile."""

from typing import Self

from rich.console import Console

from fl_app.validation import counted
from server.app.results import Results
from server.display.live import display_for
from server.display.run_status import Clock, Status
from server.display.tuning.table import in_words
from server.display.words import number
from server.modeller.tuning.directory import Tuning, planned


class TuningProgress:
    """Follows a tuning: a line as each run ends, with the trial's settings and its figure.

    Parameters
    ----------
    console : Console
        Where to show it.
    """

    def __init__(self, console: Console) -> None:
        self._display, self._clock = display_for(console), Clock()
        self._told: set[tuple[int, int]] = set()

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def begin(self, tuning: Tuning) -> None:
        """Say what is about to be done; runs that have ended by then get no line."""
        self._told = {(trial, rung) for trial, rung, _ in _ended(tuning)}
        self._display.line(planned(tuning))
        if self._told:
            self._display.line(f"{counted(len(self._told), 'run')} of them done before")

    def __call__(self, tuning: Tuning, results: Results) -> None:
        """Show which runs have ended since, and how far the one under way is."""
        self.ended(tuning)
        status = self._clock.status(results)
        done = len(_ended(tuning))
        what = f"run {done + 1} of {tuning.runs_planned}: {status.what}"
        if status.of:
            what += f" ({status.done}/{status.of})"
        self._display.status(
            Status(
                what,
                done=done,
                of=tuning.runs_planned,
                waiting=status.waiting,
                seconds=status.seconds,
                sent=status.sent,
                received=status.received,
            )
        )

    def ended(self, tuning: Tuning) -> None:
        """Show a line for each run that has ended since."""
        for trial, rung, text in _ended(tuning):
            if (trial, rung) not in self._told:
                self._told.add((trial, rung))
                self._display.line(text)


def _ended(tuning: Tuning) -> list[tuple[int, int, str]]:
    """Return trial, rung and line of each run that has ended, in the order of rungs."""
    found = [(run.rung, trial, run) for trial in tuning.trials for run in trial.runs if run.status != "running"]
    lines = []
    for rung, trial, run in sorted(found, key=lambda one: (one[0], one[1].number)):
        came = f"{tuning.metric} {number(run.value)}" if run.status == "completed" else f"left out: {trial.left_out}"
        place = f"rung {run.rung + 1}, {counted(run.rounds, 'round')}: trial {trial.number}"
        text = f"{place}, {in_words(trial.settings)}: {came}"
        lines.append((trial.number, rung, text))
    return lines
