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
from fl_app.flower.names import COMPLETED_ROUNDS, EVALUATE, NUM_EXAMPLES, STATISTICS, TRAIN, UPDATE, segment
from fl_app.secagg.canonical import Value, encode
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.field import field_of
from fl_app.secagg.messages import Parameters
from strategies.cohort import Cohort, Watch
from strategies.inner_strategy import CohortGrid, check_minima, common_request, moved, virtual_reply
from strategies.metrics import Declaration, Metric, metric_record, with_examples
from strategies.sessions import Sessions
from strategies.steps import StepFailed, StepResult, Traffic


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
        """The decoded sum."""
        return self.step.aggregate


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
    prime_q : int
        2**61-1, or 2**31-1 for half the bytes and a coarser step.
    update_bound : float
        Largest magnitude of an element of an update; what is beyond is clipped, and counted.
    max_weight : int
        Largest number of examples one pod may have.
    weighting : str
        "examples" or "equal".
    run_config : mapping
        The settings of the run, bound into the session.
    threshold : int
        Pods whose answers make a sum; 0: all of up to three, else floor(2n/3) + 1.
    hello_timeout, rejoin_timeout : float
        Seconds for the requested pods to connect and answer, at the start and after pods were lost.
    grace : float
        Seconds that the last pods have once enough others have answered, or as long again as those took.
    unmask_timeout : float
        Seconds for the answers of the small trips after the vectors.
    membership_changes : int
        How often the run may go on after pods were lost.
    series : str
        The training that this run is part of, the same for a run and those that resume it; "": of its own. Pods train
        for each round of a series once.
    first_round, completed : int
        Where a resumed run goes on: the number of its first round, and how many rounds were completed before it.
    poll : float
        Seconds between two looks for replies.
    on_round : callable
        Called with each completed `Round`.
    on_skip : callable
        Called with the number and the error of a round that could not be completed.
    on_wait : callable
        Called at each look for answers with the trip ("hello", "roster", "train", ...) and the pods waited for.
    until : callable
        Asked once a round has been completed; true ends the training there, before ``num_rounds``.
    keep : callable
        Asked when the training is over; the number and the arrays of the round whose model is evaluated finally, and
        returned, in place of the last one's. None: the last one's.
    """

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
        prime_q: int = 2**61 - 1,
        update_bound: float = 8.0,
        max_weight: int = 1 << 20,
        weighting: str = "examples",
        run_config: Mapping[str, Value] | None = None,
        threshold: int = 0,
        hello_timeout: float = 60.0,
        rejoin_timeout: float = 20.0,
        grace: float = 15.0,
        unmask_timeout: float = 120.0,
        membership_changes: int = 3,
        series: str = "",
        first_round: int = 1,
        completed: int = 0,
        poll: float = 0.1,
        on_round: Callable[[Round], None] | None = None,
        on_skip: Callable[[int, StepFailed], None] | None = None,
        on_wait: Watch | None = None,
        until: Callable[[], bool] | None = None,
        keep: Callable[[], tuple[int, ArrayRecord] | None] | None = None,
    ) -> None:
        if len(pods) < 2 or len(set(pods)) != len(pods):
            raise UsageError("secure aggregation needs two or more different pods")
        if not 0 <= completed < first_round:
            raise UsageError(f"{completed} rounds cannot have been completed before round {first_round}")
        if weighting not in ("examples", "equal"):
            raise UsageError(f"weighting is 'examples' or 'equal', not '{weighting}'")
        check_minima(inner, len(pods))
        field_of(prime_q)
        self.inner, self.pods, self.secure = inner, tuple(pods), secure
        self.declared = Declaration(
            statistics=tuple(statistics),
            train=tuple(train_metrics),
            evaluate=with_examples(evaluate_metrics),
            final=with_examples(evaluate_metrics if final_metrics is None else final_metrics),
            update_bound=update_bound,
            examples=max_weight,
        )
        self.prime_q, self.weighting = prime_q, weighting
        self.max_weight = 1 if weighting == "equal" else max_weight
        self.run_config = dict(run_config or {})
        self.threshold, self.membership_changes = threshold, membership_changes
        self.series, self.first_round, self.completed = series, first_round, completed
        self.hello_timeout, self.rejoin_timeout, self.poll = hello_timeout, rejoin_timeout, poll
        self.grace, self.unmask_timeout = grace, unmask_timeout
        self.on_round, self.on_skip, self.on_wait = on_round, on_skip, on_wait
        self.until, self.keep = until, keep
        self.final: StepResult | None = None
        self.sessions: Sessions | None = None

    def summary(self) -> None:
        """Log the settings, then the inner strategy's."""
        log(INFO, "\t├──> Secure aggregation over %d pods, q = 2^%d-1", len(self.pods), self.prime_q.bit_length())
        log(INFO, "\t│\t└── inner strategy: %s", type(self.inner).__name__)
        self.inner.summary()

    def form_cohort(self, grid: Grid, num_rounds: int) -> Cohort:
        """Run the hello and the roster; every requested pod must answer and approve every other.

        Raises
        ------
        CohortRefused
            If they do not.
        """
        self.sessions = Sessions(
            grid,
            self._parameters(str(grid.run.run_id), grid.run.fab_hash, num_rounds),
            secure=self.secure,
            hello_timeout=self.hello_timeout,
            rejoin_timeout=self.rejoin_timeout,
            poll=self.poll,
            changes=self.membership_changes,
            grace=self.grace,
            unmask_timeout=self.unmask_timeout,
            watch=self.on_wait,
        )
        return self.sessions.cohort

    def _session(self) -> Sessions:
        if self.sessions is None:
            raise UsageError("form the cohort first: form_cohort(grid, num_rounds)")
        return self.sessions

    def declare_sizes(self, sizes: Mapping[str, int]) -> None:
        """Set how many elements metrics have that were declared before that could be known, by their names."""
        self.declared = self.declared.sized(sizes)

    def traffic(self) -> dict[str, Traffic]:
        """Return what each kind of step has cost so far."""
        return self.sessions.traffic if self.sessions else {}

    def gather_statistics(self, content: RecordDict, sizes: Mapping[str, int], timeout: float = 600.0) -> Aggregate:
        """Ask every pod for its statistics, once a run; ``sizes`` gives the elements of each declared metric."""
        named = {segment(STATISTICS, name): size for name, size in sizes.items()}
        return self._session().run(STATISTICS, 1, content, named, timeout).aggregate

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run until ``num_rounds`` rounds are completed, or ``until`` ends it; see `Strategy.start`.

        ``timeout`` is for each step.

        A round that cannot be completed, or that pods have answered in the run that this one resumes, is skipped.

        Raises
        ------
        CohortRefused, RunFailed
            If the cohort does not form, or too many pods are lost; the rounds completed have been passed on.
        """
        if self.sessions is None:
            self.form_cohort(grid, num_rounds)
        self.summary()
        result, arrays = Result(), initial_arrays
        number, completed, last = self.first_round - 1, self.completed, self._last_number(num_rounds)
        self._evaluate_centrally(evaluate_fn, number, arrays, result)
        while completed < num_rounds and not (completed and self.until and self.until()):
            number += 1
            config = ConfigRecord({**(train_config or {}), COMPLETED_ROUNDS: completed})
            try:
                done = self._train(grid, number, arrays, config, timeout)
            except StepFailed as error:
                self._skip(number, error)
                if error.spent and number == last:
                    raise RunFailed(f"no round is left: the pods have answered up to {number}") from error
                continue
            completed += 1
            arrays = result.arrays = done.arrays
            result.train_metrics_clientapp[number] = done.train
            if self.declared.evaluate:
                result.evaluate_metrics_clientapp[number - 1] = done.evaluated
            self._evaluate_centrally(evaluate_fn, number, arrays, result)
            if self.on_round:
                self.on_round(done)
        if self.keep and (kept := self.keep()):
            number, arrays = kept
            result.arrays = arrays
        config = ConfigRecord(dict(evaluate_config or {}))
        if (metrics := self._evaluate(grid, number, arrays, config, timeout)) is not None:
            result.evaluate_metrics_clientapp[number] = metrics
        return result

    def _skip(self, number: int, error: StepFailed) -> None:
        """Leave a round out that could not be completed: its number is spent, the model as it was."""
        log(WARNING, "round %d is skipped: %s", number, error)
        if self.on_skip:
            self.on_skip(number, error)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Sequence[Message]:
        """Let the inner strategy configure the round for the cohort."""
        return list(self.inner.configure_train(server_round, arrays, config, self._view(grid)))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Sequence[Message]:
        """Let the inner strategy configure the evaluation for the cohort."""
        return list(self.inner.configure_evaluate(server_round, arrays, config, self._view(grid)))

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

    def _view(self, grid: Grid) -> CohortGrid:
        nodes = list(self.sessions.cohort.nodes.values() if self.sessions else grid.get_node_ids())
        check_minima(self.inner, len(nodes))
        return CohortGrid(grid, nodes)

    def _train(self, grid: Grid, number: int, arrays: ArrayRecord, config: ConfigRecord, timeout: float) -> Round:
        started = time.monotonic()
        self._session().renew()
        request = self._common(self.configure_train(number, arrays, config, grid), TRAIN)
        sizes = self.declared.train_sizes(arrays)
        step = self._session().run(TRAIN, number, request.content, sizes, timeout)
        aggregate = step.aggregate
        train = metric_record(aggregate, self.declared.train, TRAIN)
        evaluated = metric_record(aggregate, self.declared.evaluate, EVALUATE)
        mean = moved(arrays, aggregate.values[UPDATE])
        key = next(name for name, record in request.content.items() if isinstance(record, ArrayRecord))
        reply = virtual_reply(self.inner, request, aggregate.weight, train, {key: mean})
        new, metrics = self.aggregate_train(number, [reply])
        if new is None:
            raise UsageError(
                f"{type(self.inner).__name__} made no new arrays from the mean: it is not an averaging one"
            )
        return Round(number, new, step, metrics or train, evaluated, time.monotonic() - started)

    def _evaluate(
        self, grid: Grid, number: int, arrays: ArrayRecord, config: ConfigRecord, timeout: float
    ) -> MetricRecord | None:
        if not self.declared.final:
            return None
        self._session().renew()
        messages = self.configure_evaluate(number, arrays, config, grid)
        if not messages:
            return None
        request = self._common(messages, EVALUATE)
        self.final = self._session().run(EVALUATE, 1, request.content, self.declared.final_sizes(), timeout)
        record = metric_record(self.final.aggregate, self.declared.final, EVALUATE)
        examples = int(self.final.aggregate.values[segment(EVALUATE, NUM_EXAMPLES)][0])
        if not examples:
            return record  # the inner strategy would divide by it
        return self.aggregate_evaluate(number, [virtual_reply(self.inner, request, examples, record, {})])

    def _common(self, messages: Sequence[Message], kind: str) -> Message:
        return common_request(self.inner, messages, kind, len(self._session().cohort.nodes))

    def _evaluate_centrally(
        self,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None,
        number: int,
        arrays: ArrayRecord,
        result: Result,
    ) -> None:
        if evaluate_fn and (metrics := evaluate_fn(number, arrays)) is not None:
            result.evaluate_metrics_serverapp[number] = metrics

    def _last_number(self, num_rounds: int) -> int:
        """Return the highest round number that the run may need: it completes what is left and may skip some."""
        return self.first_round - 1 + max(num_rounds - self.completed, 0) + self.membership_changes

    def _parameters(self, run: str, app: str, num_rounds: int) -> Parameters:
        return Parameters(
            run=run,
            series=self.series or run,
            app=app,
            config=encode(self.run_config),
            prime_q=self.prime_q,
            pods=self.pods,
            threshold=self.threshold,
            max_weight=self.max_weight,
            weighting=self.weighting,
            steps=self.declared.plans(self._last_number(num_rounds)),
        )
