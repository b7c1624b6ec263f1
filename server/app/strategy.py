"""The strategy that a run's settings describe."""

from fl_app.config import RunConfig
from fl_app.replica.averaging import checked
from fl_app.replica.tabular import TabularRule
from fl_app.run_plan import evaluations, reported_metrics
from server.app.checkpoint import Checkpoint
from strategies import Hooks, ReplicatedAggregation, StartingPoint


def secure_strategy(
    config: RunConfig, starting_point: StartingPoint, hooks: Hooks, checkpoint: Checkpoint | None = None
) -> ReplicatedAggregation:
    """Return the strategy that a run's settings describe.

    Raises
    ------
    UsageError
        If the averaging strategy refuses its parameters.
    """
    checked(config.strategy, config.strategy_params)
    return ReplicatedAggregation(
        TabularRule(),
        config.to_json(),
        config.pods,
        replica=checkpoint.replica if checkpoint else None,
        proof=checkpoint.proof if checkpoint else None,
        **reported_metrics(config),
        secure=config.secure,
        evaluations=evaluations(config),
        aggregation=config.aggregation,
        dropouts=config.dropouts,
        timing=config.timing,
        starting_point=starting_point,
        hooks=hooks,
    )
