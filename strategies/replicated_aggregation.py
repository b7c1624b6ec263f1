"""ReplicatedAggregation: a run that every pod follows by itself, from secure sums that the server proves.

::

    strategy = ReplicatedAggregation(rule, settings, pods=["hospital-a", "hospital-b"], ...)
    strategy.form_cohort(grid, num_rounds=10)
    strategy.gather_statistics()
    result = strategy.start(grid, strategy.model(), num_rounds=10)

The server keeps a replica as each pod does. What it sends is the head of a step and the proof of the sum before; where
values travel in the clear, for comparison, it sends what the replica has for the pods' handlers.
"""

import time
from collections.abc import Sequence
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fl_app.errors import RunFailed
from fl_app.flower.names import ARRAYS_RECORD, CONFIG_RECORD, EVALUATE, MODEL_ROUND, RUN, STATISTICS, TRAIN, UPDATE
from fl_app.flower.records import array_from, put_cohort
from fl_app.replica.rule import Rule
from fl_app.replica.state import Replica
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.field import Words
from fl_app.secagg.messages import Proof
from strategies.cohort import Cohort
from strategies.hooks import Round
from strategies.metrics import metric_record
from strategies.secure_aggregation import SecureAggregation
from strategies.steps import StepResult


class ReplicatedAggregation(SecureAggregation):
    """A `SecureAggregation` whose averaging is that of the app's rule, computed by each pod too.

    Parameters
    ----------
    rule : Rule
        How the app's runs are followed.
    settings : str
        The run's settings, bound into the session, as the rule reads them.
    pods : sequence of str
        Names of the pods requested.
    replica : Replica or None
        In a resumed run, where it stands.
    proof : pair or None
        In a resumed run, the proof of the step that was completed last, and its sum.
    others
        As for `SecureAggregation`.

    Attributes
    ----------
    replica : Replica
        What follows from the steps completed so far.
    asked : Replica
        That on which the last step was asked.
    """

    follows = True

    def __init__(
        self,
        rule: Rule,
        settings: str,
        pods: Sequence[str],
        *,
        replica: Replica | None = None,
        proof: tuple[Proof, Words] | None = None,
        **others: Any,
    ) -> None:
        few = min(2, len(pods))
        super().__init__(
            FedAvg(min_train_nodes=few, min_evaluate_nodes=few, min_available_nodes=few),
            pods,
            proposal=rule.proposal(settings),
            run_config={RUN: settings},
            **others,
        )
        self.rule, self.settings = rule, settings
        self.replica = self.asked = replica or Replica()
        self._proof = proof

    def summary(self) -> None:
        """Log what holds for the run."""
        bits = self.aggregation.prime_q.bit_length()
        how = f"secure aggregation, q = 2^{bits}-1" if self.secure else "values in the clear"
        log(INFO, "\t├──> %d pods, %s; every pod follows the run by itself", len(self.pods), how)

    def form_cohort(self, grid: Grid, num_rounds: int) -> Cohort:
        """Run the hello and the roster, and begin the replica with what the pods publish.

        Raises
        ------
        CohortRefused
            If the cohort does not form.
        RunFailed
            If the pods have followed the series further than the run that is resumed.
        """
        self.sessions = self._opened(grid, num_rounds, self._proof)
        cohort = self.sessions.cohort
        if self.replica.place:
            self._check_place(cohort)
        else:
            self.replica = self.asked = self.rule.begin(self.settings, cohort.published)
        return cohort

    def model(self) -> ArrayRecord:
        """Return the replica's model; its arrays are not copied where they lie in the bytes of a file."""
        return ArrayRecord({name: array_from(array) for name, array in self.replica.model.items()})

    def gather_statistics(self, timeout: float | None = None) -> Aggregate:  # type: ignore[override]
        """Ask every pod for its statistics, once a series."""
        return self._run(STATISTICS, 1, self.timing.step if timeout is None else timeout).aggregate

    def _train(self, grid: Grid, number: int, arrays: ArrayRecord, config: ConfigRecord, timeout: float) -> Round:
        started = time.monotonic()
        step = self._run(TRAIN, number, timeout)
        train = metric_record(step.aggregate, self.declared.train, TRAIN)
        evaluated = metric_record(step.aggregate, self.declared.evaluate, EVALUATE)
        return Round(number, self.model(), step, train, evaluated, time.monotonic() - started)

    def _evaluate(
        self, grid: Grid, place: tuple[int, int], arrays: ArrayRecord, config: ConfigRecord, timeout: float
    ) -> MetricRecord | None:
        number, turn = place
        if not self.declared.final:
            return None
        self.final = self._run(EVALUATE, turn, timeout, self._earlier(number, arrays))
        return metric_record(self.final.aggregate, self.declared.final, EVALUATE)

    def _earlier(self, number: int, arrays: ArrayRecord) -> RecordDict:
        """Return what asks for another round's model than the last, which pods know by its digest; nothing for that."""
        if number == self.replica.last_round:
            return RecordDict()
        return RecordDict({CONFIG_RECORD: ConfigRecord({MODEL_ROUND: number}), ARRAYS_RECORD: arrays})

    def _run(self, kind: str, number: int, timeout: float, earlier: RecordDict | None = None) -> StepResult:
        """Ask for a step, and follow its sums."""
        sessions = self._session()
        sessions.renew()
        asked = self.replica
        content = RecordDict(dict(earlier or {}))
        if not self.secure:
            told = self.rule.request(self.settings, asked, kind, number, list(sessions.cohort.nodes))
            content = RecordDict({**told, **{name: content[name] for name in content if name == ARRAYS_RECORD}})
        elif not asked.place:
            put_cohort(content, sessions.cohort.published)
        sizes = self.rule.sizes(self.settings, asked, kind)
        done = sessions.run(kind, number, content, sizes, timeout, asked if self.secure else None)
        self.asked, self.replica = asked, self.rule.after(self.settings, asked, kind, number, done.aggregate)
        done.aggregate.values.pop(UPDATE, None)  # large, and used
        return done

    def _check_place(self, cohort: Cohort) -> None:
        stated = {hello.place: hello.followed for hello in cohort.hellos.values()}
        furthest = max(stated)
        if furthest > self.replica.place or stated.get(self.replica.place, self.replica.digest) != self.replica.digest:
            raise RunFailed(
                "the pods have followed this training further, or otherwise, than the checkpoint that it is resumed "
                "from: begin a new run"
            )
