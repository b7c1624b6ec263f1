"""A tuning's directory: what it tries, what came of it so far, and which runs hold the rest.

::

    runs/tune-ID/tune.json   `Tuning`, rewritten whenever a run begins or ends
                 tune.html   table and curves
                 .lock       held by the process that carries the tuning out

Its runs are ordinary ones, beside it under ``runs``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from fl_app.errors import UsageError
from fl_app.tabular.early_stopping import LOWER_IS_BETTER, StoppingMetric
from fl_app.validation import counted
from server.app.document import Document
from server.app.results import Number
from server.modeller.several_directory import SeveralDirectory
from server.modeller.tuning.space import TrialSettings, TuningSpace

PREFIX = "tune-"
TUNING_FILE = "tune.json"

TrialStatus = Literal["running", "completed", "failed"]
TuningStatus = Literal["running", "completed", "stopped", "interrupted", "failed"]


class RungPlan(Document):
    """How many trials are tried on a rung, and in runs of how many rounds."""

    trials: int
    rounds: int


class TrialRun(Document):
    """A trial's run on one rung."""

    run: str
    """The run's name."""
    rung: int
    """From 0."""
    rounds: int
    status: TrialStatus = "running"
    values: tuple[Number, ...] = ()
    """The metric of each completed round's model, on all pods' validation rows together."""
    value: Number = None
    """That of the last round, by which trials are compared."""
    rows: int = 0
    """Validation rows that it counts."""


class Trial(Document):
    """One choice of settings, and what came of it."""

    number: int
    """From 1."""
    settings: TrialSettings
    runs: tuple[TrialRun, ...] = ()
    left_out: str = ""
    """Why it is tried no more, though nothing better was: its run failed by its settings."""

    def on(self, rung: int) -> TrialRun | None:
        """Return its run on a rung, if one has begun."""
        return next((run for run in self.runs if run.rung == rung), None)

    def value_on(self, rung: int) -> float | None:
        """Return its metric on a rung; None until that is known."""
        run = self.on(rung)
        return run.value if run and run.status == "completed" else None


class Best(Document):
    """The trial that does best on the highest rung that has any figure."""

    trial: int
    rung: int
    value: float
    run: str
    settings: TrialSettings


class Tuning(Document):
    """All that a tuning tries and has come to; the content of tune.json."""

    tune_id: str
    status: TuningStatus = "running"
    why: str = ""
    """Why it ended early."""
    started: str = ""
    """ISO 8601, UTC."""
    seed: int
    metric: StoppingMetric
    eta: int
    space: TuningSpace
    rungs: tuple[RungPlan, ...]
    final_wanted: bool = True
    """Whether the best trial is trained on the last rung too."""
    federation: str = ""
    source: str = ""
    """Where the federation is defined, as ``--federation`` takes it."""
    test_file: str | None = None
    """The modeller's test rows, by which the final run is scored; no trial sees them."""
    expected: Mapping[str, Any] | None = None
    """The schema that the modeller takes the pods to publish."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """The settings that all trials have in common, a `fl_app.config.RunConfig`."""
    trials: tuple[Trial, ...]
    best: Best | None = None
    final: str | None = None
    """The name of the final run, once it is completed."""

    def document(self) -> dict[str, Any]:
        """Return what JSON says of it, what was left to its default too: a reader sees the whole space."""
        return self.model_dump(mode="json")

    @property
    def runs_planned(self) -> int:
        """Runs that it takes in all."""
        return sum(rung.trials for rung in self._carried_out)

    @property
    def rounds_planned(self) -> int:
        """Rounds of all these runs."""
        return sum(rung.trials * rung.rounds for rung in self._carried_out)

    @property
    def validation_rows(self) -> int:
        """Rows by which trials were compared, the fewest of any run; 0 before one is completed."""
        return min((run.rows for trial in self.trials for run in trial.runs if run.rows), default=0)

    @property
    def _carried_out(self) -> tuple[RungPlan, ...]:
        return self.rungs if self.final_wanted else self.rungs[:-1]

    def entrants(self, rung: int) -> tuple[Trial, ...]:
        """Return the trials that are tried on a rung: all on the first, then the best of the one before.

        Of trials with the same figure the earlier one is better. A trial that was left out makes room for another.
        """
        if rung == 0:
            return self.trials
        return self.ranked(rung - 1)[: self.rungs[rung].trials]

    def ranked(self, rung: int) -> tuple[Trial, ...]:
        """Return the trials that have a figure on a rung, the best first."""
        sign = 1 if self.lower_is_better else -1
        known = [(trial.value_on(rung), trial) for trial in self.trials if not trial.left_out]
        ranked = sorted((sign * value, trial.number) for value, trial in known if value is not None)
        return tuple(self.trials[number - 1] for _, number in ranked)

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric improves by falling."""
        return self.metric in LOWER_IS_BETTER

    def with_trial(self, trial: Trial) -> Self:
        """Return the tuning with this trial in the place of the one of its number, and the best of all anew."""
        trials = tuple(trial if one.number == trial.number else one for one in self.trials)
        changed = self.changed(trials=trials)
        for rung in range(len(self.rungs) - 1, -1, -1):
            if ranked := changed.ranked(rung):
                first = ranked[0]
                run = first.on(rung)
                if run is None or run.value is None:
                    break
                best = Best(trial=first.number, rung=rung, value=run.value, run=run.run, settings=first.settings)
                return changed.changed(best=best)
        return changed


class TuningDirectory(SeveralDirectory[Tuning]):
    """One tuning's files."""

    PREFIX, FILE, CONTENT, ID = PREFIX, TUNING_FILE, Tuning, "tune_id"

    @classmethod
    def find(cls, given: str | Path, runs: Path = Path("runs")) -> Self:
        """Return the tuning ``given`` as a directory, or as a name under ``runs``, with its "tune-" or without.

        Raises
        ------
        UsageError
            If there is no such tuning.
        """
        for candidate in (Path(given), runs / given, runs / f"{PREFIX}{given}"):
            if (candidate / TUNING_FILE).is_file():
                return cls(candidate.resolve())
        there = sorted(path.parent.name for path in runs.glob(f"{PREFIX}*/{TUNING_FILE}"))
        known = f"{runs} has {', '.join(there)}" if there else f"there is none in {runs}"
        raise UsageError(f"{given}: no directory of a tuning (it would hold {TUNING_FILE}); {known}")


def planned(tuning: Tuning) -> str:
    """Return what a tuning will take, in a sentence."""
    steps = tuning.rungs if tuning.final_wanted else tuning.rungs[:-1]
    first, *others = steps
    ladder = f"{first.trials} trials of {counted(first.rounds, 'round')}"
    for rung in others:
        ladder += f", the best{'' if rung.trials == 1 else f' {rung.trials}'} of {counted(rung.rounds, 'round')}"
    return f"{counted(tuning.runs_planned, 'run')} and {counted(tuning.rounds_planned, 'round')} in all: {ladder}"
