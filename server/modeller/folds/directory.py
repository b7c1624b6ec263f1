"""A cross-validation's directory: its settings, what came of it so far, and which runs hold the rest.

::

    runs/folds-ID/folds.json   `CrossValidation`, rewritten whenever a run begins or ends
                  folds.html   table and curves
                  .lock        held by the process that carries it out

Its runs are ordinary ones, beside it under ``runs``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from server.app.document import Document
from server.app.results import Metrics, Number
from server.modeller.several_directory import SeveralDirectory

PREFIX = "folds-"
FOLDS_FILE = "folds.json"

FoldStatus = Literal["running", "completed"]
FoldsStatus = Literal["running", "completed", "stopped", "interrupted", "failed"]


class FoldRun(Document):
    """The run that holds out one fold."""

    fold: int
    """From 1."""
    run: str
    """The run's name."""
    status: FoldStatus = "running"
    figures: Metrics | None = None
    """Its model on the held-out rows of all pods together."""
    validation: tuple[Number, ...] = ()
    """The loss of each completed round's model on the validation rows."""


class Spread(Document):
    """One metric over all folds."""

    mean: Number = None
    """Of the folds' figures."""
    std: Number = None
    """The standard deviation of the folds' figures, with one less than their number in the denominator."""
    pooled: Number = None
    """What all folds' counts together give: each row is in them once, scored by the model that has not seen it."""


class CrossValidation(Document):
    """All that a cross-validation has come to; the content of folds.json."""

    folds_id: str
    status: FoldsStatus = "running"
    why: str = ""
    """Why it ended early."""
    started: str = ""
    """ISO 8601, UTC."""
    folds: int
    federation: str = ""
    source: str = ""
    """Where the federation is defined, as ``--federation`` takes it."""
    expected: Mapping[str, Any] | None = None
    """The schema that the modeller takes the pods to publish."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """The settings that all runs have in common, a `fl_app.config.RunConfig` without a fold."""
    runs: tuple[FoldRun, ...] = ()
    metrics: Mapping[str, Spread] = Field(default_factory=dict)
    """By their names, once all runs are completed; see `server.modeller.folds.figures`."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts of all rows: true classes down, predicted classes across."""
    classes: tuple[str, ...] = ()
    """The target's values, in the order of the confusion matrix; none where it is a number."""
    rows: int = 0
    """Rows counted, over all folds."""

    def on(self, fold: int) -> FoldRun | None:
        """Return the run that holds out a fold, if one has begun."""
        return next((run for run in self.runs if run.fold == fold), None)

    @property
    def completed(self) -> tuple[FoldRun, ...]:
        """The runs that are completed, in the order of their folds."""
        return tuple(run for run in self.runs if run.status == "completed")

    def with_run(self, entry: FoldRun) -> Self:
        """Return the same with this run in the place of the one of its fold."""
        others = [run for run in self.runs if run.fold != entry.fold]
        return self.changed(runs=tuple(sorted([*others, entry], key=lambda run: run.fold)))


class FoldsDirectory(SeveralDirectory[CrossValidation]):
    """One cross-validation's files."""

    PREFIX, FILE, CONTENT, ID = PREFIX, FOLDS_FILE, CrossValidation, "folds_id"

    @classmethod
    def find(cls, given: str | Path, runs: Path = Path("runs")) -> Self | None:
        """Return the cross-validation ``given`` as a directory, or as a name under ``runs``; None if there is none."""
        for candidate in (Path(given), runs / given):
            if (candidate / FOLDS_FILE).is_file():
                return cls(candidate.resolve())
        return None
