"""A cross-validation's progress on a console: a line for each run, and the status meanwhile."""

from typing import Self

from rich.console import Console

from fl_app.validation import counted
from server.app.results import Results
from server.display.live import display_for
from server.display.run_status import Clock, Status
from server.display.words import number
from server.modeller.folds.carry_out import planned
from server.modeller.folds.directory import CrossValidation, FoldRun


class FoldsProgress:
    """Follows a cross-validation: a line as each run ends, with its figures on the rows held out.

    Parameters
    ----------
    console : Console
        Where to show it.
    """

    def __init__(self, console: Console) -> None:
        self._display, self._clock = display_for(console), Clock()
        self._told: set[int] = set()

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def begin(self, validation: CrossValidation) -> None:
        """Say what is about to be done; runs that are completed by then get no line."""
        self._told = {run.fold for run in validation.completed}
        self._display.line(planned(validation))
        if self._told:
            self._display.line(f"{counted(len(self._told), 'run')} of them done before")

    def __call__(self, validation: CrossValidation, results: Results) -> None:
        """Show which runs are completed since, and how far the one under way is."""
        self.ended(validation)
        status, done = self._clock.status(results), len(validation.completed)
        what = f"fold {done + 1} of {validation.folds}: {status.what}"
        if status.of:
            what += f" ({status.done}/{status.of})"
        self._display.status(
            Status(
                what,
                done=done,
                of=validation.folds,
                waiting=status.waiting,
                seconds=status.seconds,
                sent=status.sent,
                received=status.received,
            )
        )

    def ended(self, validation: CrossValidation) -> None:
        """Show a line for each run that is completed since."""
        for run in validation.completed:
            if run.fold not in self._told:
                self._told.add(run.fold)
                self._display.line(f"fold {run.fold} of {validation.folds}: {_figures(run)}")


def _figures(run: FoldRun) -> str:
    if (final := run.figures) is None:
        return "no figures"
    names = ("accuracy", "auc", "loss") if final.r2 is None and final.mae is None else ("r2", "mae", "loss")
    told = "  ".join(f"{name} {number(getattr(final, name))}" for name in names)
    return f"{told}  ({counted(final.num_examples or 0, 'row')})"
