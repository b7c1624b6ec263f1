"""The ServerApp: forms the cohort, gathers statistics, trains, evaluates, and writes the run directory."""

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp

from fl_app.config import RunConfig
from fl_app.errors import DataError, FlAppError
from fl_app.federation.kinds import find_federation
from fl_app.flower.names import ENCODING, RUN, STATISTICS
from fl_app.system.memory import free_large_blocks_at_once
from fl_app.tabular.combining import SchemaMismatch, check_target, combine
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.schema import CombinedSchema, Schema
from fl_app.tabular.settings import DataStructure
from server.app.checkpoint import Checkpoint
from server.app.recorder import Recorder
from server.app.run_directory import FLOWER_LOG, RUN_DIRECTORY_VARIABLE, RunDirectory, request_for
from server.app.schema_agreement import SchemaChanged, check_agreement
from server.app.strategy import declare_classes, gather_statistics, secure_strategy
from strategies import Hooks, StartingPoint
from strategies.discovery import discover_pods
from strategies.inner_strategy import restore

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


def train(grid: Grid, run: RunDirectory, recorder: Recorder, checkpoint: Checkpoint | None) -> None:
    """Train from the start, or go on from a checkpoint: with its encoding, and without asking for statistics again."""
    config = run.config()
    hooks = Hooks(
        on_round=recorder.round,
        on_skip=recorder.skip,
        on_wait=recorder.wait,
        should_stop=recorder.over,
        choose_model=recorder.keep,
        more_config=recorder.score_edges,
        is_certain=recorder.is_certain,
        on_evaluation=recorder.evaluation,
    )
    strategy = secure_strategy(config, _starting_point(run, checkpoint), hooks)
    if checkpoint:
        restore(strategy.inner, checkpoint.server)

    # --- COHORT: every requested pod answers, and approves every other -----------
    recorder.step("hello")
    cohort = strategy.form_cohort(grid, config.rounds)
    recorder.cohort(strategy)

    # --- SCHEMA: the pods' own, combined, must be what the modeller expects ------
    published = [Schema.from_json(cohort.schemas[pod]) for pod in config.pods]
    schema = _agreed_schema(published, config.datastructure)
    if expected := run.request().expected:
        check_agreement(CombinedSchema.from_json(json.dumps(expected)), schema, config.datastructure)
    recorder.public_rows(schema)

    # --- ENCODING: how rows become arrays, from secure sums of statistics --------
    if checkpoint:
        encoding = _encoding_of_resumed_run(run, schema, config)
    else:
        recorder.step(STATISTICS)
        statistics, labels = gather_statistics(strategy, schema, config)
        recorder.labels(labels)
        encoding = Encoding.of(schema, config.datastructure, statistics, min_bin_rows=config.min_bin_rows)
    recorder.schema(schema, encoding)
    declare_classes(strategy, len(encoding.labels))

    # --- TRAINING AND EVALUATION -------------------------------------------------
    settings = ConfigRecord({RUN: config.to_json(), ENCODING: encoding.to_json()})
    recorder.begin(strategy)
    strategy.start(
        grid,
        _initial_arrays(encoding, config, checkpoint),
        config.rounds,
        timeout=config.step_timeout,
        train_config=settings,
        evaluate_config=settings,
    )

    # --- MODEL AND RESULTS -------------------------------------------------------
    recorder.finish(strategy)


def _agreed_schema(published: Sequence[Schema], datastructure: DataStructure) -> CombinedSchema:
    """Return the pods' schemas as one; raises `DataError` with all that does not fit, and where to see what to do."""
    try:
        schema = combine(published, ignore_cols=datastructure.ignore_cols)
        check_target(published, datastructure.target)
    except SchemaMismatch as error:
        look = f"`fl-app pods --target {shlex.quote(datastructure.target)}` shows what each owner would have to set"
        raise DataError(f"{error}. {look}") from error
    return schema


def _starting_point(run: RunDirectory, checkpoint: Checkpoint | None) -> StartingPoint:
    """Return where the run goes on: after every round that was completed, and every one known to be spent."""
    if checkpoint is None:
        return StartingPoint(series=run.name)
    skipped = [entry.round for entry in run.results().skipped]
    last = max([checkpoint.number, *skipped])
    return StartingPoint(series=run.name, first_round=last + 1, completed=len(checkpoint.rounds))


def _encoding_of_resumed_run(run: RunDirectory, schema: CombinedSchema, config: RunConfig) -> Encoding:
    """Return the encoding the run began with; raises `SchemaChanged` if the pods now publish other tables."""
    schema_before, encoding = run.encoding()
    try:
        check_agreement(CombinedSchema.from_json(schema_before), schema, config.datastructure)
    except SchemaChanged as error:
        raise SchemaChanged(f"the tables are not those this run began with, so it cannot be resumed: {error}") from None
    return Encoding.from_json(encoding)


def _initial_arrays(encoding: Encoding, config: RunConfig, checkpoint: Checkpoint | None) -> ArrayRecord:
    if checkpoint:
        arrays = checkpoint.arrays
    else:
        from fl_app.tabular.network import build_network, state_of  # torch: only a run that trains needs it

        arrays = state_of(build_network(encoding, config.architecture, config.seed))
    return ArrayRecord({name: Array(value) for name, value in arrays.items()})


def _run_directory(context: Context) -> RunDirectory:
    """Return the run directory the modeller's command has made, or make one for a plain ``flwr run``."""
    if given := os.environ.get(RUN_DIRECTORY_VARIABLE):
        return RunDirectory(Path(given))
    federation = find_federation(None, Path.cwd())
    config = RunConfig.from_flower(context.run_config, federation.pod_identifiers)
    return RunDirectory.create(Path("runs"), config, request_for(federation))
