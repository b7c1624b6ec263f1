"""The ServerApp: forms the cohort, gathers statistics, trains, evaluates, and writes the run directory."""

import json
import os
import shlex
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fl_app.config import RunConfig
from fl_app.errors import DataError, FlAppError
from fl_app.federation.kinds import find_federation
from fl_app.flower.names import STATISTICS
from fl_app.replica.columns import schema_of
from fl_app.replica.tabular import encoding_of, settled
from fl_app.system.memory import free_large_blocks_at_once
from fl_app.tabular.combining import SchemaMismatch, combine, learnt
from fl_app.tabular.importance import table_columns
from fl_app.tabular.schema import CombinedSchema, Schema
from server.app.checkpoint import Checkpoint
from server.app.own_network import try_named
from server.app.recorder import Recorder
from server.app.run_directory import FLOWER_LOG, RUN_DIRECTORY_VARIABLE, RunDirectory, request_for
from server.app.schema_agreement import SchemaChanged, check_agreement
from server.app.strategy import secure_strategy
from strategies import Hooks, StartingPoint
from strategies.cohort import Cohort
from strategies.discovery import discover_pods

app = ServerApp()

_LONGEST = 300
"""Characters of an unexpected error that are told; its traceback is in the log."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run what the run directory asks for; every failure is written there before it is raised."""
    free_large_blocks_at_once()
    run = _run_directory(context)
    checkpoint = Checkpoint.load(run.checkpoint_path) if run.resumed else None
    recorder = Recorder(run, checkpoint)
    try:
        if discovery := run.request().discovery:
            recorder.discovery(discover_pods(grid, **discovery.document()))
        elif run.config().describes:
            describe(grid, run, recorder)
        else:
            train(grid, run, recorder, checkpoint)
    except FlAppError as error:
        recorder.fail(error)
        raise
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
        where = "" if run.request().discovery else f"; {run.path / FLOWER_LOG} has the whole of it"
        recorder.fail(FlAppError(f"the ServerApp stopped unexpectedly: {cause}{where}"))
        raise
    except BaseException:
        # Flower's RunNotRunningException, or the SystemExit of its signal handler: the SuperLink knows no such run now.
        recorder.fail(FlAppError("the SuperLink ended the run: it was restarted, or the run was stopped there"))
        raise


def describe(grid: Grid, run: RunDirectory, recorder: Recorder) -> None:
    """Ask the pods once for the sums that describe their tables."""
    hooks = Hooks(on_wait=recorder.wait)
    strategy = secure_strategy(run.config(), StartingPoint(series=run.name), hooks)
    recorder.step("hello")
    strategy.form_cohort(grid, 0)
    recorder.cohort(strategy)
    recorder.step(STATISTICS)
    asked = strategy.replica
    recorder.described(asked, strategy.gather_statistics())


def train(grid: Grid, run: RunDirectory, recorder: Recorder, checkpoint: Checkpoint | None) -> None:
    """Train from the start, or go on from a checkpoint: with its encoding, and without asking for statistics again."""
    config = run.config()
    hooks = Hooks(
        on_round=recorder.round,
        on_skip=recorder.skip,
        on_wait=recorder.wait,
        should_stop=recorder.over,
        choose_model=recorder.keep,
        is_certain=recorder.is_certain,
    )
    strategy = secure_strategy(config, _starting_point(run, checkpoint), hooks, checkpoint)

    # --- COHORT: every requested pod answers, and approves every other -----------
    recorder.step("hello")
    try:
        cohort = strategy.form_cohort(grid, config.most_rounds)
    except SchemaMismatch as error:
        look = (
            f"`fl-app pods --target {shlex.quote(config.datastructure.target)}` shows what each owner would have to set"
        )
        raise DataError(f"{error}. {look}") from error
    recorder.cohort(strategy)

    # --- SCHEMA: the pods' own, combined, must be what the modeller expects ------
    schema = schema_of(strategy.replica)
    if expected := run.request().expected:
        given = learnt(CombinedSchema.from_json(json.dumps(expected)), config.datastructure.target, config.loss)
        check_agreement(given, schema, config.datastructure)
    try_named(config, schema)
    recorder.public_rows(schema)

    # --- ENCODING: how rows become arrays, from secure sums of statistics --------
    if checkpoint:
        _check_still_published(cohort, schema, config)
    else:
        recorder.step(STATISTICS)
        asked = strategy.replica
        recorder.statistics(asked, strategy.gather_statistics())
    recorder.encoding(strategy.replica)

    # --- TRAINING AND EVALUATION -------------------------------------------------
    recorder.begin(strategy)
    rounds, longest = settled(config, strategy.replica).rounds, config.step_timeout
    if config.importance:  # scores the test rows once more for each column: a small part of a step that trains
        longest *= 1 + len(table_columns(encoding_of(strategy.replica))) / 10
    strategy.start(grid, strategy.model(), rounds, timeout=config.step_timeout, final_timeout=longest)

    # --- MODEL AND RESULTS -------------------------------------------------------
    recorder.finish(strategy)


def _starting_point(run: RunDirectory, checkpoint: Checkpoint | None) -> StartingPoint:
    """Return where the run goes on: after every round that was completed, and every one known to be spent."""
    if checkpoint is None:
        return StartingPoint(series=run.name)
    skipped = [entry.round for entry in run.results().skipped]
    last = max([checkpoint.number, *skipped])
    return StartingPoint(series=run.name, first_round=last + 1, completed=len(checkpoint.rounds))


def _check_still_published(cohort: Cohort, schema: CombinedSchema, config: RunConfig) -> None:
    """Raise `SchemaChanged` if the pods of a resumed run now publish other tables than those it began with."""
    published = [Schema.from_json(cohort.schemas[pod]) for pod in config.pods]
    target = config.datastructure.target
    try:
        now = learnt(combine(published, ignore_cols=config.datastructure.ignore_cols), target, config.loss)
        check_agreement(schema, now, config.datastructure)
    except SchemaChanged as error:
        raise SchemaChanged(f"the tables are not those this run began with, so it cannot be resumed: {error}") from None


def _run_directory(context: Context) -> RunDirectory:
    """Return the run directory the modeller's command has made, or make one for a plain ``flwr run``."""
    if given := os.environ.get(RUN_DIRECTORY_VARIABLE):
        return RunDirectory(Path(given))
    federation = find_federation(None, Path.cwd())
    config = RunConfig.from_flower(context.run_config, federation.pod_identifiers)
    return RunDirectory.create(Path("runs"), config, request_for(federation))
