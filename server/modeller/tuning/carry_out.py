"""Carrying a tuning out: run after run, each begun, followed and resumed as `fl-app fit` does it.

A trial that is tried for more rounds begins anew. The learning rate falls over the rounds of a run, so that a short run
is over where it ends: going on from there would train at a rate that is used up, and cannot be done with a completed
run. What short runs cost beside long ones is less than half of it, with an eta of 3.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fl_app.config import RunConfig
from fl_app.errors import DataError, UsageError
from fl_app.federation.kinds import Federation, find_federation
from fl_app.tabular.early_stopping import StoppingMetric
from fl_app.tabular.schema import Schema
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.modeller.launch import FitFailed, check_pods, new_run
from server.modeller.several_runs import Going, found_run
from server.modeller.tuning.directory import RungPlan, Trial, TrialRun, Tuning, TuningDirectory
from server.modeller.tuning.schedule import schedule, within
from server.modeller.tuning.space import TuningSpace

FollowTuning = Callable[[Tuning, Results], None]
"""Called a few times a second with the tuning so far, and the results of its run under way."""

DEFAULT_TRIALS, DEFAULT_ROUNDS, DEFAULT_ETA = 9, 5, 3

_BY_ITS_SETTINGS = re.compile(r"training diverged|could not answer|\(maximum_local_epochs\b")
"""What the error of a run says whose own settings are why pods do not train: other settings may do."""


def plan(
    runs: Path,
    base: RunConfig,
    federation: Federation,
    *,
    space: TuningSpace | None = None,
    trials: int = DEFAULT_TRIALS,
    rounds: int = DEFAULT_ROUNDS,
    eta: int = DEFAULT_ETA,
    budget_rounds: int | None = None,
    metric: StoppingMetric = "loss",
    final: bool = True,
    test_file: Path | None = None,
    schema: Schema | None = None,
) -> TuningDirectory:
    """Draw the trials, and write the directory of a new tuning; nothing runs yet.

    Parameters
    ----------
    base
        What all trials have in common; its seed draws the trials too.
    space
        None: the default one.
    trials, rounds, eta
        How many settings are tried, for how many rounds at first, and of how many one goes on; see `schedule`.
    budget_rounds
        Most rounds of all runs together: as many trials as fit into it.
    metric
        What is compared, on all pods' validation rows.
    final
        Whether the best settings are trained on for ``eta`` times as many rounds.
    test_file
        Rows by which the final run is scored; None: the federation's. No trial sees them.
    schema
        The schema that the modeller expects; if the pods publish another, no run trains.

    Raises
    ------
    UsageError
        If a number cannot be, the budget is too small, a simulation has no pod of a name, or with privacy: each run
        would spend of what owners allow in all, and its figures carry noise.
    """
    if base.privacy:
        raise UsageError("a tuning has no privacy: each run would cost epsilon, and choosing by its figures more")
    check_pods(base.pods, federation)
    space = space or TuningSpace()
    count = min(trials, space.combinations)
    if budget_rounds is None:
        rungs = schedule(count, rounds, eta)
    else:
        rungs = within(budget_rounds, count, rounds, eta, final=final)
    drawn = space.draw(rungs[0].trials, base.seed)
    path = test_file or federation.test_file
    return TuningDirectory.create(
        runs,
        seed=base.seed,
        metric=metric,
        eta=eta,
        space=space,
        rungs=tuple(RungPlan(trials=rung.trials, rounds=rung.rounds) for rung in rungs),
        final_wanted=final,
        federation=federation.name,
        source=federation.source,
        test_file=str(path.resolve()) if path else None,
        expected=schema.model_dump(mode="json") if schema else None,
        settings=base.model_dump(mode="json"),
        trials=tuple(Trial(number=number, settings=settings) for number, settings in enumerate(drawn, 1)),
    )


def carry_out(
    directory: TuningDirectory,
    federation: Federation | None = None,
    *,
    final: bool | None = None,
    follow: FollowTuning | None = None,
) -> Tuning:
    """Do what is left of a tuning, and return it: a run that is completed is not run again.

    Where a pod has answered as much as its owner allows in a day, the tuning ends as "stopped", and says why; it can be
    gone on with the day after. A trial whose own settings keep pods from training is left out, but not two on end.

    Parameters
    ----------
    federation
        Where to reach the pods; None: as the tuning began.
    final
        Whether the best trial is trained on the last rung; None: as the tuning began.
    follow
        See `FollowTuning`.

    Raises
    ------
    UsageError
        If another process carries it out.
    DataError
        If the pods' validation rows do not define the metric.
    FitFailed
        If a run failed for another reason; the tuning can be gone on with.
    Interrupted
        If this process received SIGINT or SIGTERM.
    """
    with directory.carried_out():
        tuning = directory.read()
        reached = federation or find_federation(tuning.source, Path.cwd())
        wanted = tuning.final_wanted if final is None else final
        changes: Mapping[str, Any] = {"federation": reached.name, "source": reached.source, "final_wanted": wanted}
        directory.write(tuning.changed(status="running", why="", **changes))
        return _Going(directory, reached, follow).on()


class _Going(Going[Tuning]):
    """A tuning that is carried out."""

    def __init__(self, directory: TuningDirectory, federation: Federation, follow: FollowTuning | None) -> None:
        super().__init__(directory, federation, follow, how_to_go_on(directory))
        self._failed_on_end = 0

    def _all(self) -> None:
        for rung in range(len(self._so_far.rungs)):
            last = rung == len(self._so_far.rungs) - 1
            if last and not self._so_far.final_wanted:
                return
            while left := self._left(rung):
                self._try(left[0], rung, final=last)

    def _left(self, rung: int) -> list[Trial]:
        """Return the trials that are still to be tried on a rung; one that is left out makes room for another."""
        entrants = self._so_far.entrants(rung)
        return [trial for trial in entrants if not trial.left_out and trial.value_on(rung) is None]

    def _try(self, trial: Trial, rung: int, *, final: bool) -> None:
        """Run a trial on a rung, or what is left of that, and record its figures."""
        try:
            run = self._run(trial, rung, final=final)
        except FitFailed as error:
            why = self._why(error)
            self._failed_on_end += 1
            if not _BY_ITS_SETTINGS.search(why) or final or self._failed_on_end > 1:
                raise
            self._record(trial, rung, error.run.name, status="failed", left_out=why)
            return
        self._failed_on_end = 0
        results = run.results()
        values = tuple(getattr(entry, self._so_far.metric) for entry in results.rounds)
        rows = results.rounds[-1].num_examples or 0
        if not rows or values[-1] is None:
            raise DataError(
                f"trials are compared by {self._so_far.metric} on all pods' validation rows, which do not define it: "
                f"{results.no_figures or 'too few of them have rows of each class'}"
            )
        self._record(trial, rung, run.name, status="completed", values=values, value=values[-1], rows=rows)
        if final:
            self._write(self._so_far.changed(final=run.name))

    def _run(self, trial: Trial, rung: int, *, final: bool) -> RunDirectory:
        """Run a trial on a rung, or what is left of that."""
        number = trial.number

        def begun() -> RunDirectory | None:
            run = self._so_far.trials[number - 1].on(rung)
            return found_run(self._directory.runs, run.run) if run else None

        def begin() -> RunDirectory:
            trial = self._so_far.trials[number - 1]
            # No trial sees the test file, so that nothing is chosen by it.
            federation = self._federation if final else self._federation.model_copy(update={"test_file": None})
            run = new_run(
                trial.settings.config(self._base, self._so_far.rungs[rung].rounds),
                federation,
                runs=self._directory.runs,
                test_file=Path(self._so_far.test_file) if final and self._so_far.test_file else None,
                schema=self._schema,
            )
            self._record(trial, rung, run.name)  # before it begins: should this process be killed, the run is found
            return run

        return self._carry_through(begun, begin)

    def _record(self, trial: Trial, rung: int, run: str, *, left_out: str = "", **known: Any) -> None:
        entry = TrialRun(run=run, rung=rung, rounds=self._so_far.rungs[rung].rounds, **known)
        others = tuple(one for one in trial.runs if one.rung != rung)
        self._write(self._so_far.with_trial(trial.changed(runs=(*others, entry), left_out=left_out)))


def how_to_go_on(directory: TuningDirectory) -> str:
    """Return the command that goes on with a tuning."""
    return f"`fl-app tune --resume {directory.resumed_as}` goes on with it"
