"""SecureAggregation: any averaging Flower strategy, fed with secure sums.

::

    strategy = SecureAggregation(FedAvg(), pods=["hospital-a", "hospital-b"], train_metrics=[Mean("loss")])
    result = strategy.start(grid, initial_arrays, num_rounds=10)

The inner strategy configures every round and is handed one virtual reply: the pods' mean and their total weight.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import INFO, WARNING

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fl_app.errors import RunFailed, UsageError
from fl_app.flower.declared import Declaration, Metric, fixed_parameters
from fl_app.flower.names import COMPLETED_ROUNDS, EVALUATE, NUM_EXAMPLES, STATISTICS, TRAIN, UPDATE, segment
from fl_app.flower.protocol_settings import Aggregation, Dropouts, Timing
from fl_app.secagg.canonical import Value, encode
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.field import Words
from fl_app.secagg.messages import Parameters, Proof
from strategies.cohort import Cohort
from strategies.hooks import Hooks, Round
from strategies.inner_strategy import CohortGrid, check_minima, common_request, moved, virtual_reply
from strategies.metrics import metric_record
from strategies.sessions import Sessions
from strategies.steps import StepFailed, StepResult, Traffic

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True)
class StartingPoint:
    """Where training starts: at the beginning, or after the rounds of the run that this one resumes.

    Attributes
    ----------
    series : str
        The training that the run is part of, the same for a run and those that resume it; "": of its own. Pods train
        for each round of a series once.
    first_round : int
        Number of the run's first round.
    completed : int
        How many rounds were completed before it.

    Raises
    ------
    UsageError
        If more rounds are completed than there are numbers before the first.
    """

    series: str = ""
    first_round: int = 1
    completed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.completed < self.first_round:
            raise UsageError(f"{self.completed} rounds cannot have been completed before round {self.first_round}")


class SecureAggregation(Strategy):
    """Wraps an averaging strategy so that the server sees sums over the cohort only.

    Parameters
    ----------
    inner : Strategy
        FedAvg, FedAdam, FedAvgM, FedProx or another strategy that works from the pods' weighted mean.
    pods : sequence of str
        Names of the pods requested; the run needs every one of them.
    train_metrics, evaluate_metrics, final_metrics, statistics : sequences of Metric
        What the pods' handlers report. Evaluation of the incoming model rides in each training step;
        ``final_metrics`` (by default the same) are asked for once, of the last model.
    secure : bool
        False sends the same values in the clear, for comparison; pods refuse it unless their owners allow it.
    aggregation : Aggregation
        Bounds and weights of the values, and the field of their sum.
    dropouts : Dropouts
        Which losses of pods the run survives.
    timing : Timing
        How long the server waits.
    run_config : mapping
        The settings of the run, bound into the session.
    proposal : str
        What is proposed to the pods for what they publish, in the app's own words.
    starting_point : StartingPoint
        Where a resumed run goes on.
    hooks : Hooks
        What to call after each round, and the like.

    Raises
    ------
    UsageError
        If there are not two or more different pods, or the inner strategy waits for more than there are.
    """

    follows = False
    """Whether pods follow the run by sums that the server proves to them; see `ReplicatedAggregation`."""

    def __init__(
        self,
        inner: Strategy,
        pods: Sequence[str],
        *,
        train_metrics: Sequence[Metric] = (),
        evaluate_metrics: Sequence[Metric] = (),
        final_metrics: Sequence[Metric] | None = None,
        statistics: Sequence[Metric] = (),
        secure: bool = True,
        evaluations: int = 1,
        aggregation: Aggregation = Aggregation(),  # noqa: B008  frozen, like all defaults here
        dropouts: Dropouts = Dropouts(),  # noqa: B008
        timing: Timing = Timing(),  # noqa: B008
        run_config: Mapping[str, Value] | None = None,
        proposal: str = "",
        starting_point: StartingPoint = StartingPoint(),
        hooks: Hooks = Hooks(),  # noqa: B008
    ) -> None:
        if len(pods) < 2 or len(set(pods)) != len(pods):
            raise UsageError(f"secure aggregation needs two or more different pods, not {', '.join(pods) or 'none'}")
        check_minima(inner, len(pods))
        self.inner, self.pods, self.secure, self.evaluations = inner, tuple(pods), secure, evaluations
        self.declared = Declaration.of(
            aggregation,
            statistics=statistics,
            train_metrics=train_metrics,
            evaluate_metrics=evaluate_metrics,
            final_metrics=final_metrics,
        )
        self.aggregation, self.dropouts, self.timing = aggregation, dropouts, timing
        self.run_config, self.proposal = dict(run_config or {}), proposal
        self.starting_point, self.hooks = starting_point, hooks
        self.final: StepResult | None = None
        self.sessions: Sessions | None = None

    def summary(self) -> None:
        """Log the settings, then the inner strategy's."""
        bits = self.aggregation.prime_q.bit_length()
        log(INFO, "\t├──> Secure aggregation over %d pods, q = 2^%d-1", len(self.pods), bits)
        log(INFO, "\t│\t└── inner strategy: %s", type(self.inner).__name__)
        self.inner.summary()

    def form_cohort(self, grid: Grid, num_rounds: int) -> Cohort:
        """Run the hello and the roster; every requested pod must answer and approve every other.

        Raises
        ------
        CohortRefused
            If they do not.
        """
        self.sessions = self._opened(grid, num_rounds)
        return self.sessions.cohort

    def _opened(self, grid: Grid, num_rounds: int, proof: tuple[Proof, Words] | None = None) -> Sessions:
        return Sessions(
            grid,
            self._parameters(str(grid.run.run_id), grid.run.fab_hash, num_rounds),
            secure=self.secure,
            timing=self.timing,
            membership_changes=self.dropouts.membership_changes,
            on_wait=self.hooks.on_wait,
            proposal=self.proposal,
            proof=proof,
        )

    def traffic(self) -> dict[str, Traffic]:
        """Return what each kind of trip has cost so far."""
        return self.sessions.traffic if self.sessions else {}

    def gather_statistics(
        self, content: RecordDict, sizes: Mapping[str, int], timeout: float | None = None
    ) -> Aggregate:
        """Ask every pod for its statistics, once a run.

        Parameters
        ----------
        content : RecordDict
            What the pods' handlers are given.
        sizes : mapping
            The elements of each declared metric, by its name.
        timeout : float or None
            Seconds for the answers; None: those of ``timing``.
        """
        segments = {segment(STATISTICS, name): size for name, size in sizes.items()}
        seconds = self.timing.step if timeout is None else timeout
        return self._session().run(STATISTICS, 1, content, segments, seconds).aggregate

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFn | None = None,
        final_timeout: float | None = None,
    ) -> Result:
        """Run until ``num_rounds`` rounds are completed, or a hook ends it; see `Strategy.start`.

        ``timeout`` is for each step, but for the final evaluation where it has a ``final_timeout`` of its own.

        A round that cannot be completed, or that pods have answered in the run that this one resumes, is skipped.

        Raises
        ------
        CohortRefused, RunFailed
            If the cohort does not form, or too many pods are lost; the rounds completed have been passed on.
        """
        # --- COHORT --------------------------------------------------------------
        if self.sessions is None:
            self.form_cohort(grid, num_rounds)
        self.summary()

        # --- INITIAL MODEL, EVALUATED ON THE SERVER ------------------------------
        result, arrays = Result(), initial_arrays
        del initial_arrays  # the model is large: a round has the one that came in and the one it makes, no third
        number, completed = self.starting_point.first_round - 1, self.starting_point.completed
        _evaluate_on_server(evaluate_fn, number, arrays, result)

        while completed < num_rounds and not (completed and self.hooks.should_stop()):
            # --- TRAINING, AND EVALUATION OF THE MODEL THAT COMES IN -------------
            number += 1
            log(INFO, "[ROUND %d, %d of %d completed]", number, completed, num_rounds)
            config = ConfigRecord({**(train_config or {}), COMPLETED_ROUNDS: completed})
            try:
                done = self._train(grid, number, arrays, config, timeout)
            except StepFailed as error:
                self._skip(number, error, is_last=number == self._last_number(num_rounds))
                continue
            completed, arrays, result.arrays = completed + 1, done.arrays, done.arrays
            result.train_metrics_clientapp[number] = done.train
            if self.declared.evaluate:
                result.evaluate_metrics_clientapp[number - 1] = done.evaluated

            # --- EVALUATION ON THE SERVER ----------------------------------------
            _evaluate_on_server(evaluate_fn, number, arrays, result)
            self.hooks.on_round(done)
            del done

        # --- FINAL EVALUATION ----------------------------------------------------
        if chosen := self.hooks.choose_model():
            number, arrays = chosen
            result.arrays = arrays
        # With the last one that was declared, pods forget the session.
        for turn in range(self.evaluations if self.hooks.is_certain() else 1, self.evaluations + 1):
            config = ConfigRecord({**(evaluate_config or {})})
            if (metrics := self._evaluate(grid, (number, turn), arrays, config, final_timeout or timeout)) is not None:
                result.evaluate_metrics_clientapp[number] = metrics
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Sequence[Message]:
        """Let the inner strategy configure the round for the cohort."""
        return list(self.inner.configure_train(server_round, arrays, config, self._cohort_grid(grid)))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Sequence[Message]:
        """Let the inner strategy configure the evaluation for the cohort."""
        return list(self.inner.configure_evaluate(server_round, arrays, config, self._cohort_grid(grid)))

    def aggregate_train(
        self,
        server_round: int,
        replies: Sequence[Message],  # type: ignore[override]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Let the inner strategy work from the one virtual reply."""
        return self.inner.aggregate_train(server_round, replies)

    def aggregate_evaluate(
        self,
        server_round: int,
        replies: Sequence[Message],  # type: ignore[override]
    ) -> MetricRecord | None:
        """Let the inner strategy work from the one virtual reply."""
        return self.inner.aggregate_evaluate(server_round, replies)

    def _session(self) -> Sessions:
        if self.sessions is None:
            raise UsageError("form the cohort first: form_cohort(grid, num_rounds)")
        return self.sessions

    def _cohort_grid(self, grid: Grid) -> CohortGrid:
        nodes = list(self.sessions.cohort.nodes.values() if self.sessions else grid.get_node_ids())
        check_minima(self.inner, len(nodes))
        return CohortGrid(grid, nodes)

    def _train(self, grid: Grid, number: int, arrays: ArrayRecord, config: ConfigRecord, timeout: float) -> Round:
        started = time.monotonic()
        self._session().renew()
        messages = self.configure_train(number, arrays, config, grid)
        request = common_request(self.inner, messages, TRAIN, len(self._session().cohort.nodes))
        step = self._session().run(TRAIN, number, request.content, self.declared.train_sizes(arrays), timeout)
        aggregate = step.aggregate
        train = metric_record(aggregate, self.declared.train, TRAIN)
        evaluated = metric_record(aggregate, self.declared.evaluate, EVALUATE)
        # Taken out, so that the memory in which the vectors were summed is free before the new model is made.
        mean = moved(arrays, aggregate.values.pop(UPDATE))
        key = next(name for name, record in request.content.items() if isinstance(record, ArrayRecord))
        reply = virtual_reply(self.inner, request, aggregate.weight, train, {key: mean})
        new, metrics = self.aggregate_train(number, [reply])
        if new is None:
            raise UsageError(
                f"{type(self.inner).__name__} made no new arrays from the mean: it is not an averaging one"
            )
        return Round(number, new, step, metrics or train, evaluated, time.monotonic() - started)

    def _skip(self, number: int, error: StepFailed, *, is_last: bool) -> None:
        """Leave out a round that could not be completed: its number is spent, and the model stays as it was."""
        log(WARNING, "round %d is skipped: %s", number, error)
        self.hooks.on_skip(number, error)
        if error.spent and is_last:
            raise RunFailed(f"no round is left: the pods have answered up to {number}") from error

    def _evaluate(
        self, grid: Grid, place: tuple[int, int], arrays: ArrayRecord, config: ConfigRecord, timeout: float
    ) -> MetricRecord | None:
        """Evaluate the model of a round; ``place`` is the round's number, and how many times it is asked for."""
        number, turn = place
        if not self.declared.final:
            return None
        self._session().renew()
        messages = self.configure_evaluate(number, arrays, config, grid)
        if not messages:
            return None
        request = common_request(self.inner, messages, EVALUATE, len(self._session().cohort.nodes))
        self.final = self._session().run(EVALUATE, turn, request.content, self.declared.final_sizes(), timeout)
        record = metric_record(self.final.aggregate, self.declared.final, EVALUATE)
        examples = int(self.final.aggregate.values[segment(EVALUATE, NUM_EXAMPLES)][0])
        if not examples:
            return record  # the inner strategy would divide by it
        return self.aggregate_evaluate(number, [virtual_reply(self.inner, request, examples, record, {})])

    def _last_number(self, num_rounds: int) -> int:
        """Return the highest round number that the run may need: it completes what is left and may skip some."""
        left = max(num_rounds - self.starting_point.completed, 0)
        return self.starting_point.first_round - 1 + left + self.dropouts.membership_changes

    def _parameters(self, run: str, app: str, num_rounds: int) -> Parameters:
        return Parameters(
            run=run,
            series=self.starting_point.series or run,
            app=app,
            config=encode(self.run_config),
            verified=self.secure and self.follows,
            **fixed_parameters(
                self.declared,
                self.aggregation,
                self.dropouts,
                self.pods,
                rounds=self._last_number(num_rounds) if num_rounds else 0,
                evaluations=self.evaluations,
            ),
        )


def _evaluate_on_server(evaluate_fn: EvaluateFn | None, number: int, arrays: ArrayRecord, result: Result) -> None:
    if evaluate_fn and (metrics := evaluate_fn(number, arrays)) is not None:
        result.evaluate_metrics_serverapp[number] = metrics
