"""What a run tells its caller after each round, and where the caller may end it."""

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ArrayRecord, MetricRecord

from fl_app.secagg.codec import Aggregate
from strategies.polling import OnWait
from strategies.steps import StepFailed, StepResult


@dataclass(frozen=True)
class Round:
    """What the server knows after a training round: sums and means over the cohort, nothing of one pod.

    ``evaluated`` are the metrics of the model that came into the round, if evaluation was declared.
    """

    number: int
    arrays: ArrayRecord
    step: StepResult
    train: MetricRecord
    evaluated: MetricRecord
    seconds: float

    @property
    def aggregate(self) -> Aggregate:
        """The decoded sum, but for the update, which is in ``arrays``."""
        return self.step.aggregate


@dataclass(frozen=True)
class Hooks:
    """Functions that `SecureAggregation` calls; each does nothing by default.

    Attributes
    ----------
    on_round : callable
        Called with each completed `Round`.
    on_skip : callable
        Called with the number and the error of a round that could not be completed.
    on_wait : callable
        Called at each poll with the trip ("hello", "roster", "train", ...) and the pods whose replies are outstanding.
    should_stop : callable
        Called once a round has been completed; if it returns true, training ends before ``num_rounds``.
    choose_model : callable
        Called when training is over; returns the number and the arrays of the round whose model is evaluated finally
        and returned, or None for the last one.
    is_certain : callable
        Called before the final evaluation; if it returns false, all those that were declared take place rather than the
        last one alone.
    """

    on_round: Callable[[Round], object] = lambda completed: None
    on_skip: Callable[[int, StepFailed], object] = lambda number, error: None
    on_wait: OnWait = lambda trip, pods: None
    should_stop: Callable[[], bool] = lambda: False
    choose_model: Callable[[], tuple[int, ArrayRecord] | None] = lambda: None
    is_certain: Callable[[], bool] = lambda: True
