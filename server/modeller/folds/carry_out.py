"""Carrying a cross-validation out: run after run, each with another fold held out, resumed where one ended early."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fl_app.config import RunConfig
from fl_app.errors import DataError
from fl_app.federation.kinds import Federation, find_federation
from fl_app.system.files import replace_file
from fl_app.tabular.folds import Fold
from fl_app.tabular.network_source import read_source
from fl_app.tabular.schema import Schema
from fl_app.validation import counted
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.modeller.folds.directory import CrossValidation, FoldRun, FoldsDirectory
from server.modeller.folds.figures import figures_of
from server.modeller.launch import FitFailed, check_pods, new_run
from server.modeller.several_runs import Going, found_run

_NETWORK = "network.py"  # as in a run's directory
FollowFolds = Callable[[CrossValidation, Results], None]
"""Called a few times a second with what there is so far, and the results of the run under way."""


def plan(
    runs: Path,
    config: RunConfig,
    federation: Federation,
    folds: int,
    *,
    schema: Schema | None = None,
    network: str | None = None,
) -> FoldsDirectory:
    """Write the directory of a new cross-validation; nothing runs yet.

    Parameters
    ----------
    config
        The settings of every run, without a fold.
    folds
        2, 5 or 10.
    schema
        The schema that the modeller expects; if the pods publish another, no run trains.
    network
        The source of a network of the modeller's own, whose digest ``config`` names.

    Raises
    ------
    UsageError
        If there can be no such cross-validation, or a simulation has no pod of a name.
    """
    check_pods(config.pods, federation)
    _config(config, 1, folds)  # raises what is wrong with it before anything is made
    made = FoldsDirectory.create(
        runs,
        folds=folds,
        federation=federation.name,
        source=federation.source,
        expected=schema.model_dump(mode="json") if schema else None,
        settings=config.model_dump(mode="json"),
    )
    if network is not None:
        replace_file(made.path / _NETWORK, network.encode())
    return made


def carry_out(
    directory: FoldsDirectory, federation: Federation | None = None, *, follow: FollowFolds | None = None
) -> CrossValidation:
    """Do what is left of a cross-validation, and return it: a run that is completed is not run again.

    Where a pod has answered as much as its owner allows in a day, it ends as "stopped", and says why; it can be gone on
    with the day after.

    Parameters
    ----------
    federation
        Where to reach the pods; None: as it began.
    follow
        See `FollowFolds`.

    Raises
    ------
    UsageError
        If another process carries it out.
    DataError
        If the pods' held-out rows do not define figures.
    FitFailed
        If a run failed for another reason; it can be gone on with.
    Interrupted
        If this process received SIGINT or SIGTERM.
    """
    with directory.carried_out():
        validation = directory.read()
        reached = federation or find_federation(validation.source, Path.cwd())
        directory.write(validation.changed(status="running", why="", federation=reached.name, source=reached.source))
        return _Going(directory, reached, follow).on()


class _Going(Going[CrossValidation]):
    """A cross-validation that is carried out."""

    def __init__(self, directory: FoldsDirectory, federation: Federation, follow: FollowFolds | None) -> None:
        # A public test file has no part in it: its rows are no pod's, and every model would score all of them.
        super().__init__(directory, federation.model_copy(update={"test_file": None}), follow, how_to_go_on(directory))
        self._network = read_source(directory.path / _NETWORK) if self._base.network else None
        self._done: list[Results] = []

    def _all(self) -> None:
        self._done = [self._try(fold) for fold in range(1, self._so_far.folds + 1)]

    def _came_to(self) -> dict[str, Any]:
        return figures_of(self._done)

    def _try(self, fold: int) -> Results:
        """Carry the run of a fold through, record its figures, and return its results."""
        try:
            run = self._run(fold)
        except FitFailed as error:
            self._why(error)
            raise
        results = run.results()
        if results.final is None or not results.final.num_examples:
            raise DataError(
                f"fold {fold}: no figures over the pods' held-out rows: "
                f"{results.no_figures or 'too few pods have enough of them'}"
            )
        losses = tuple(entry.loss for entry in results.rounds)
        self._record(fold, run.name, status="completed", figures=results.final, validation=losses)
        return results

    def _run(self, fold: int) -> RunDirectory:
        runs = self._directory.runs

        def begun() -> RunDirectory | None:
            entry = self._so_far.on(fold)
            return found_run(runs, entry.run) if entry else None

        def begin() -> RunDirectory:
            config = _config(self._base, fold, self._so_far.folds)
            run = new_run(config, self._federation, runs=runs, schema=self._schema, network=self._network)
            self._record(fold, run.name)  # before it begins: should this process be killed, the run is found
            return run

        return self._carry_through(begun, begin)

    def _record(self, fold: int, run: str, **known: Any) -> None:
        self._write(self._so_far.with_run(FoldRun(fold=fold, run=run, **known)))


def planned(validation: CrossValidation) -> str:
    """Return what a cross-validation will take, in a sentence."""
    most = RunConfig.from_json(json.dumps(validation.settings)).most_rounds
    return (
        f"{validation.folds} runs of up to {counted(most, 'round')}, each holding out another fold of every pod's rows"
    )


def how_to_go_on(directory: FoldsDirectory) -> str:
    """Return the command that goes on with a cross-validation."""
    return f"`fl-app fit --resume {directory.resumed_as}` goes on with it"


def _config(base: RunConfig, fold: int, folds: int) -> RunConfig:
    return RunConfig(**{**dict(base), "fold": Fold(number=fold, of=folds)})
