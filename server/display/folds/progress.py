"""A cross-validation's progress on a console: a line for each run, and the status meanwhile."""

from collections.abc import Iterator

from fl_app.validation import counted
from server.display.several import SeveralProgress
from server.display.words import number
from server.modeller.folds.carry_out import planned
from server.modeller.folds.directory import CrossValidation, FoldRun


class FoldsProgress(SeveralProgress[CrossValidation]):
    """Follows a cross-validation: a line as each run ends, with its figures on the rows held out."""

    def _planned(self, content: CrossValidation) -> str:
        return planned(content)

    def _place(self, content: CrossValidation, number: int) -> tuple[str, int]:
        return f"fold {number}", content.folds

    def _ended(self, content: CrossValidation) -> Iterator[tuple[int, str]]:
        for run in content.completed:
            yield run.fold, f"fold {run.fold} of {content.folds}: {_figures(run)}"


def _figures(run: FoldRun) -> str:
    if (final := run.figures) is None:
        return "no figures"
    names = ("accuracy", "auc", "loss") if final.r2 is None and final.mae is None else ("r2", "mae", "loss")
    told = "  ".join(f"{name} {number(getattr(final, name))}" for name in names)
    return f"{told}  ({counted(final.num_examples or 0, 'row')})"
