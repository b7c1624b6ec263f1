"""The ServerApp: forms the cohort, gathers statistics, trains, evaluates, and writes the run directory."""

import json
import os
from pathlib import Path
from typing import Any

import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from fl_app.config import RunConfig
from fl_app.errors import FlAppError, UsageError
from fl_app.federation.kinds import find_federation
from fl_app.flower.names import (
    CONFIG_RECORD,
    DATASTRUCTURE,
    ENCODING,
    LOSS,
    RUN,
    SCHEMA,
    STATISTICS,
    TEST_PREFIX,
    segment,
)
from fl_app.tabular.encoding import Encoding, continuous_features
from fl_app.tabular.metrics import MAX_BRIER, MAX_LOSS, Counts
from fl_app.tabular.schema import CombinedSchema, Schema, combine
from fl_app.tabular.statistics import Statistics
from server.app.checkpoint import Checkpoint
from server.app.recorder import Recorder
from server.app.run_directory import (
    FLOWER_LOG,
    MEMBERSHIP_CHANGES,
    RUN_DIRECTORY_VARIABLE,
    RunDirectory,
    request_for,
)
from server.app.schema_agreement import SchemaChanged, check_agreement
from strategies import Count, Mean, SecureAggregation, Sum
from strategies.inner_strategy import restore
from strategies.look import look_at_pods
from strategies.metrics import Metric

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run what the run directory asks for; every failure is written there before it is raised."""
    run = _run_directory(context)
    checkpoint = Checkpoint.load(run.checkpoint_path) if run.resumed else None
    recorder = Recorder(run, checkpoint)
    try:
        request = run.request()
        if request.discovery:
            recorder.look(look_at_pods(grid, **request.discovery.document()))
        else:
            schema = request.expected
            expected = CombinedSchema.from_json(json.dumps(schema)) if schema else None
            _train(grid, run, recorder, expected, checkpoint)
    except FlAppError as error:
        recorder.fail(error)
        raise
    except Exception:
        recorder.fail(FlAppError(f"the ServerApp stopped unexpectedly; see {FLOWER_LOG} in the run directory"))
        raise
    except BaseException:
        # Flower's RunNotRunningException, or the SystemExit of its signal handler: the SuperLink knows no such run now.
        recorder.fail(FlAppError("the SuperLink ended the run: it was restarted, or the run was stopped there"))
        raise


def _train(
    grid: Grid, run: RunDirectory, recorder: Recorder, expected: Schema | None, checkpoint: Checkpoint | None
) -> None:
    """Train from the start, or go on from a checkpoint: with its encoding, and without asking for statistics again."""
    config = run.config()
    strategy = make_strategy(config, recorder, series=run.name, **(_going_on(run, checkpoint) if checkpoint else {}))
    if checkpoint:
        restore(strategy.inner, checkpoint.server)
    recorder.step("hello")
    cohort = strategy.form_cohort(grid, config.rounds)
    recorder.cohort(strategy)
    schema = combine(
        [Schema.from_json(cohort.schemas[pod]) for pod in config.pods], ignore_cols=config.datastructure.ignore_cols
    )
    if expected:
        check_agreement(expected, schema, config.datastructure)
    if checkpoint:
        encoding = _kept_encoding(run, schema, config)
    else:
        recorder.step("statistics")
        statistics = gather_statistics(strategy, schema, config)
        encoding = Encoding.of(schema, config.datastructure, statistics, min_bin_rows=config.min_bin_rows)
    recorder.schema(schema, encoding)
    strategy.declare_sizes(_sizes(len(encoding.labels)))
    arrays = checkpoint.arrays if checkpoint else _first_arrays(encoding, config)
    initial = ArrayRecord({name: Array(value) for name, value in arrays.items()})
    settings = ConfigRecord({RUN: config.to_json(), ENCODING: encoding.to_json()})
    recorder.begin(strategy)
    strategy.start(
        grid, initial, config.rounds, timeout=config.step_timeout, train_config=settings, evaluate_config=settings
    )
    recorder.finish(strategy)


def _first_arrays(encoding: Encoding, config: RunConfig) -> dict[str, npt.NDArray[Any]]:
    from fl_app.tabular.network import build_network, state_of

    return state_of(build_network(encoding, config.architecture, config.seed))


def _going_on(run: RunDirectory, checkpoint: Checkpoint) -> dict[str, int]:
    """Return where a resumed run goes on: after every round that was completed, and every one known to be spent."""
    skipped = [entry.round for entry in run.results().skipped]
    return {"first_round": max([checkpoint.number, *skipped]) + 1, "completed": len(checkpoint.rounds)}


def _kept_encoding(run: RunDirectory, schema: CombinedSchema, config: RunConfig) -> Encoding:
    """Return the encoding the run began with; raises `SchemaChanged` if the pods publish other tables by now."""
    kept, encoding = run.encoding()
    try:
        check_agreement(CombinedSchema.from_json(kept), schema, config.datastructure)
    except SchemaChanged as error:
        raise SchemaChanged(f"the tables are not those this run began with, so it cannot be resumed: {error}") from None
    return Encoding.from_json(encoding)


def make_strategy(config: RunConfig, recorder: Recorder, **settings: Any) -> SecureAggregation:
    """Return the secure strategy that a run's settings describe; ``settings`` are `SecureAggregation`'s own."""
    evaluate = _evaluation(config.max_weight)
    return SecureAggregation(
        inner_strategy(config),
        config.pods,
        statistics=[Sum("moments", bound=float(config.max_weight)), Count("histogram")],
        train_metrics=[Mean(LOSS, bound=MAX_LOSS)],
        evaluate_metrics=evaluate,
        final_metrics=[*evaluate, *_evaluation(config.max_weight, TEST_PREFIX)],
        secure=config.secure,
        prime_q=config.prime_q,
        update_bound=config.update_bound,
        max_weight=config.max_weight,
        weighting=config.weighting,
        run_config={RUN: config.to_json()},
        hello_timeout=config.hello_timeout,
        threshold=config.threshold,
        rejoin_timeout=config.rejoin_timeout,
        membership_changes=MEMBERSHIP_CHANGES,
        on_round=recorder.round,
        on_skip=recorder.skip,
        on_wait=recorder.wait,
        until=recorder.over,
        keep=recorder.keep,
        **settings,
    )


def inner_strategy(config: RunConfig) -> Strategy:
    """Return the averaging strategy by its Flower name; raises `UsageError` if it refuses its parameters."""
    from flwr.serverapp import strategy

    try:
        made: Strategy = getattr(strategy, config.strategy)(
            min_train_nodes=2, min_evaluate_nodes=2, min_available_nodes=2, **config.strategy_params
        )
    except TypeError as error:
        raise UsageError(f"strategy_params: {config.strategy} does not take them: {error}") from error
    return made


def gather_statistics(strategy: SecureAggregation, schema: CombinedSchema, config: RunConfig) -> Statistics:
    """Return the statistics of the continuous features, summed over the pods' training rows."""
    columns = continuous_features(schema, config.datastructure)
    layout = Statistics.zeros(columns).arrays()
    request = ConfigRecord({SCHEMA: schema.to_json(), DATASTRUCTURE: config.datastructure.to_json()})
    sizes = {name: array.size for name, array in layout.items()}
    summed = strategy.gather_statistics(RecordDict({CONFIG_RECORD: request}), sizes, config.step_timeout)
    return Statistics.from_arrays({name: summed.values[segment(STATISTICS, name)] for name in layout})


def _evaluation(max_weight: int, prefix: str = "") -> list[Metric]:
    """Return the metrics of one set of rows: the arrays of `Counts`, their sizes still to be declared."""
    bounds = {"loss_sum": MAX_LOSS, "brier_sum": MAX_BRIER}
    return [
        Sum(prefix + name, bound=bounds[name] * max_weight) if name in bounds else Count(prefix + name)
        for name in Counts.zeros(2).arrays()
    ]


def _sizes(classes: int) -> dict[str, int]:
    sizes = {name: array.size for name, array in Counts.zeros(classes).arrays().items()}
    return sizes | {TEST_PREFIX + name: size for name, size in sizes.items()}


def _run_directory(context: Context) -> RunDirectory:
    """Return the run directory the modeller's command has made, or make one for a plain ``flwr run``."""
    if given := os.environ.get(RUN_DIRECTORY_VARIABLE):
        return RunDirectory(Path(given))
    federation = find_federation(None, Path.cwd())
    config = RunConfig.from_flower(context.run_config, federation.pod_identifiers)
    return RunDirectory.create(Path("runs"), config, request_for(federation))
