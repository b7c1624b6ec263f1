"""The strategy that a run's settings describe."""

from flwr.app import ConfigRecord, RecordDict
from flwr.serverapp.strategy import Strategy

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.flower.names import (
    CONFIG_RECORD,
    DATASTRUCTURE,
    RUN,
    SCHEMA,
    STATISTICS,
    TEST_PREFIX,
    segment,
)
from fl_app.run_plan import reported_metrics
from fl_app.tabular.encoding import continuous_features
from fl_app.tabular.evaluation import Counts
from fl_app.tabular.label_counts import LABELS, LabelCounts
from fl_app.tabular.schema import CombinedSchema
from fl_app.tabular.score_cells import MAX_EVALUATIONS
from fl_app.tabular.statistics import Statistics
from strategies import Hooks, SecureAggregation, StartingPoint


def secure_strategy(config: RunConfig, starting_point: StartingPoint, hooks: Hooks) -> SecureAggregation:
    """Return the secure strategy that a run's settings describe.

    Raises
    ------
    UsageError
        If the averaging strategy refuses its parameters.
    """
    return SecureAggregation(
        averaging_strategy(config),
        config.pods,
        **reported_metrics(config),
        secure=config.secure,
        evaluations=MAX_EVALUATIONS,
        aggregation=config.aggregation,
        dropouts=config.dropouts,
        timing=config.timing,
        run_config={RUN: config.to_json()},
        proposal=config.columns.to_json() if config.columns else "",
        starting_point=starting_point,
        hooks=hooks,
    )


def averaging_strategy(config: RunConfig) -> Strategy:
    """Return the averaging strategy by its Flower name; raises `UsageError` if it refuses its parameters."""
    from flwr.serverapp import strategy

    try:
        inner: Strategy = getattr(strategy, config.strategy)(
            min_train_nodes=2, min_evaluate_nodes=2, min_available_nodes=2, **config.strategy_params
        )
    except TypeError as error:
        raise UsageError(f"strategy_params: {config.strategy} does not take them: {error}") from error
    return inner


def gather_statistics(
    strategy: SecureAggregation, schema: CombinedSchema, config: RunConfig
) -> tuple[Statistics, LabelCounts]:
    """Return the statistics of the continuous features over the pods' training rows, and all rows by their label."""
    layout = Statistics.zeros(continuous_features(schema, config.datastructure)).arrays()
    request = ConfigRecord(
        {RUN: config.to_json(), SCHEMA: schema.to_json(), DATASTRUCTURE: config.datastructure.to_json()}
    )
    sizes = {name: array.size for name, array in layout.items()}
    sizes[LABELS] = LabelCounts.size(schema.column(config.datastructure.target))
    total = strategy.gather_statistics(RecordDict({CONFIG_RECORD: request}), sizes)
    statistics = Statistics.from_arrays({name: total.values[segment(STATISTICS, name)] for name in layout})
    return statistics, LabelCounts.from_sums(total.values[segment(STATISTICS, LABELS)])


def declare_classes(strategy: SecureAggregation, classes: int) -> None:
    """Declare the sizes of the evaluation metrics, which depend on the number of classes."""
    sizes = {name: array.size for name, array in Counts.zeros(classes).arrays().items()}
    strategy.declare_sizes(sizes | {TEST_PREFIX + name: size for name, size in sizes.items()})
