"""Keeps the record of a run: results and a checkpoint after every round, the model at the end. Sums only."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flwr.app import ArrayRecord

from fl_app.config import RunConfig, Settled
from fl_app.errors import DataError, FlAppError
from fl_app.flower.names import EVALUATE, LOSS, STATISTICS, TRAIN
from fl_app.flower.records import array_from, array_of
from fl_app.replica.columns import datastructure_of, differences_of, schema_of
from fl_app.replica.comparison import compares, is_comparing, network_of
from fl_app.replica.own_network import metrics_in
from fl_app.replica.state import Replica
from fl_app.replica.tabular import (
    CONTRIBUTORS_OF,
    compared_in,
    encoding_of,
    ends_of,
    evaluates,
    labels_in,
    rows_of,
    settled,
)
from fl_app.secagg.codec import Aggregate
from fl_app.tabular.encoding import Encoding, features_of
from fl_app.tabular.evaluation import Counts
from fl_app.tabular.network_source import Bounds
from fl_app.tabular.schema import CombinedSchema
from fl_app.tabular.score_cells import AUC_BOUND, Edges, edges_of
from fl_app.tabular.settings import PAIR
from server.app.best_model import Arrays, Stopping
from server.app.checkpoint import Checkpoint
from server.app.counted_rows import counted_rows
from server.app.decision import check_rule
from server.app.description import description_of
from server.app.few_steps import advised
from server.app.figures import ClassFigures, Figures, NumberFigures
from server.app.group_figures import groups_of
from server.app.importance_figures import importance_of
from server.app.noised_metrics import noised_metrics
from server.app.promises import honest_in, promise_of
from server.app.public_rows import PublicRows, TestFile
from server.app.results import (
    AggregationResult,
    CountedRows,
    LabelRows,
    Metrics,
    Results,
    RoundResult,
    SkippedRound,
    StepProgress,
    Stop,
)
from server.app.run_directory import RunDirectory
from server.app.summaries import (
    aggregation_of,
    comparison_of,
    finite,
    losses_of,
    pods_of,
    position_of,
    regression_of,
    training_of,
)
from strategies import CohortRefused, ReplicatedAggregation, Round, StepFailed
from strategies.discovery import Discovery
from strategies.steps import StepResult

MIN_INTERVAL = 0.25
"""Least seconds between two records of which pods are awaited."""
WRITING_SHARE = 1 / 20
"""Largest part of the time that such records may take; what one costs grows with the rounds."""


class Recorder:
    """Keeps results.json up to date while a run goes on.

    ``_results`` is the state: it is replaced by a changed copy in `_note`, and written in `_save`.

    Parameters
    ----------
    run : RunDirectory
        The run; the results of a run that is resumed are continued.
    checkpoint : Checkpoint or None
        Where a resumed run continues.
    """

    def __init__(self, run: RunDirectory, checkpoint: Checkpoint | None = None) -> None:
        self._run = run
        self._started = time.monotonic()
        self._saved, self._cost = -math.inf, 0.0
        self._results = run.results()
        if self._results.status is None:
            self._results = Results(run_id=run.name, status="running", started=_now(), rounds=())
        self._seconds_before = self._results.seconds or 0.0
        self._aggregation_before = self._results.secure_aggregation or AggregationResult()
        self._strategy: ReplicatedAggregation | None = None
        self._encoding: Encoding | None = None
        self._public_rows: PublicRows | None = None
        self._test_file: TestFile | None = None
        self._last_error = math.inf
        self._figures: Figures | None = None
        self._arrays: Arrays = checkpoint.arrays if checkpoint else {}
        self._checkpoint = checkpoint
        self._restored: int | None = None
        self._first_round = True

    @cached_property
    def _config(self) -> RunConfig:
        return self._run.config()

    @cached_property
    def _settled(self) -> Settled:
        """The settings with what follows from the pods' sums; first asked for once these are there."""
        return settled(self._config, self._replica)

    @property
    def _replica(self) -> Replica:
        if self._strategy is None:
            raise FlAppError("no step has been asked yet")
        return self._strategy.replica

    @cached_property
    def _stopping(self) -> Stopping:
        asked, strict = self._settled.early_stopping, self._config.early_stopping != "auto"
        if before := self._checkpoint:
            return Stopping(asked, before.rounds, before.best, strict=strict)
        return Stopping(asked, strict=strict)

    # Progress: which step is under way, and which pods are awaited.

    def step(self, name: str, number: int = 0) -> None:
        """Record which step is under way."""
        rounds = self._results.training.rounds if self._results.training else 0
        self._note(step=StepProgress(name=name, round=number, of=rounds, waiting=()))
        self._save()

    def wait(self, trip: str, pods: Sequence[str]) -> None:
        """Record which pods are awaited on which trip; called often, it writes a few times a second at most."""
        step, awaited = self._results.step, tuple(pods)
        if step is None or (step.trip, step.waiting) == (trip, awaited):
            return
        if time.monotonic() - self._saved >= max(MIN_INTERVAL, self._cost / WRITING_SHARE):
            self._note(step=step.changed(trip=trip, waiting=awaited))
            self._save()

    # Before training: the pods that answer, their schemas.

    def cohort(self, strategy: ReplicatedAggregation) -> None:
        """Record which pods take part."""
        if strategy.sessions is not None:
            self._strategy = strategy
            self._note(pods=pods_of(strategy.sessions.cohort))
            self._note_privacy()

    def discovery(self, discovered: Discovery) -> None:
        """Record what pods publish, and that the run is completed: no more was asked of them."""
        schemas, now = discovered.cohort.schemas, _now()
        pods = tuple(
            pod.changed(
                published=json.loads(schemas[pod.name]),
                online_since=discovered.since.get(pod.name),
                last_seen=now,
            )
            for pod in pods_of(discovered.cohort)
        )
        self._note(pods=pods, problems=tuple(discovered.problems), status="completed")
        self._save()

    def described(self, replica: Replica, sums: Aggregate) -> None:
        """Record what the sums say of the pods' tables, and that the run is completed."""
        self._note(
            schema_differences=differences_of(replica),
            description=description_of(replica, sums),
            status="completed",
        )
        self._results = self._results.without("step")
        self._save()

    def public_rows(self, schema: CombinedSchema) -> None:
        """Read the public test file, if there is one; raises `DataError` if its rows cannot be scored."""
        request = self._run.request()
        if request.test_file:
            self._public_rows = PublicRows(
                Path(request.test_file), request.test_read_options, schema, self._config.datastructure
            )
            self._note(test_left_out=self._public_rows.left_out)

    def encoding(self, replica: Replica) -> None:
        """Record in what the pods' tables differ, and encode the public test file."""
        self._encoding = encoding = encoding_of(replica)
        self._run.write_encoding(schema_of(replica).to_json(), encoding.to_json())
        positive = position_of(self._config.positive, encoding)
        self._figures = self._figures_of(encoding, positive, metrics_in(replica) or {})
        chosen = training_of(self._config, self._settled, rows_of(replica))
        self._note(schema_differences=differences_of(replica), classes=tuple(encoding.labels), training=chosen)
        self._note_compared()
        if regression := regression_of(encoding):
            self._note(regression=regression)
        if self._public_rows:
            rows, run = self._public_rows.rows, self._settled
            self._test_file = TestFile(rows, encoding, network_of(run, replica), positive, run.network)
            self._public_rows = None

    def statistics(self, replica: Replica, sums: Aggregate) -> None:
        """Record how many rows of all pods have which label, and how many are left out."""
        features = features_of(schema_of(replica), datastructure_of(replica))
        self._note_privacy(STATISTICS, len(features), sums.pods)
        counts = labels_in(sums, private=self._config.plan is not None)
        self._note(
            label_counts=LabelRows(
                target=self._config.datastructure.target,
                classes=counts.classes,
                missing=counts.missing,
                unpublished=counts.unpublished,
            )
        )

    # Training.

    def begin(self, strategy: ReplicatedAggregation) -> None:
        """Record that the pods are about to train, or, where no round is left, to evaluate."""
        if rounds := self._results.rounds:
            self._note_stop(rounds[-1].round)
        start = strategy.starting_point
        trains = start.completed < self._settled.rounds and not self.over()
        self.step("train" if trains else "evaluate", start.first_round if trains else start.first_round - 1)

    def round(self, done: Round) -> None:
        """Record a completed round; what was evaluated in it is the model of the round before."""
        self._note_privacy(TRAIN, 0, done.aggregate.pods)
        if self._figures and evaluates(done.aggregate):
            self._note_counted("validation", done.step)
            if self._results.rounds:
                self._evaluated(self._figures.metrics(done.aggregate), self._part_losses(done.aggregate))
            self._last_error = self._figures.error(done.aggregate, self._asked_edges())
        self._arrays = {name: array_of(array) for name, array in done.arrays.items()}  # read-only, and no copy
        self._note_compared()
        entry = RoundResult(
            round=done.number,
            train_loss=finite(done.train.get(LOSS)),
            clipped=done.aggregate.clipped,
            weight=done.aggregate.weight,
            seconds=round(done.seconds, 3),
            pods=done.step.pods,
            lost=losses_of(done.step.lost),
        )
        if self._test_file:
            entry = entry.changed(test=self._test_file.score(self._arrays))
        self._note(rounds=(*self._results.rounds, entry))
        if self._first_round:
            self._first_round = False
            if not self._config.privacy:
                self._note(notes=advised(self._results.notes, self._settled, entry))
        if self._strategy:
            standing = (self._strategy.replica, self._results.rounds, self._stopping.best, done.step.proof)
            Checkpoint(done.number, *standing).save(self._run.checkpoint_path)
        self._note_stop(done.number)
        last = len(self._results.rounds) == self._settled.rounds or self.over()
        self.step("evaluate" if last else "train", done.number if last else done.number + 1)

    def skip(self, number: int, error: StepFailed) -> None:
        """Record a round that could not be completed, and why."""
        skipped = SkippedRound(round=number, lost=losses_of(error.lost), why=str(error))
        self._note(skipped=(*self._results.skipped, skipped))
        self._note_stop(number)
        self.step("train", number + 1)

    def is_certain(self) -> bool:
        """Say whether one final evaluation gives the AUC closely enough, as the cells followed the last scores."""
        return self._last_error <= AUC_BOUND and self._restored is None

    def over(self) -> bool:
        """Say whether training ends before its last round."""
        return self._results.stopped is not None

    def keep(self) -> tuple[int, ArrayRecord] | None:
        """Return number and arrays of the round whose model becomes the run's, None for the last round."""
        if not (best := self._stopping.restored()):
            return None
        self._restored, self._arrays = best
        return self._restored, ArrayRecord({name: array_from(value) for name, value in self._arrays.items()})

    # The end.

    def finish(self, strategy: ReplicatedAggregation) -> None:
        """Record the final evaluation, and write the model."""
        if strategy.final is None or self._encoding is None or self._figures is None:
            raise FlAppError("the run ended without its final evaluation")
        sums = strategy.final.aggregate
        last = self._results.rounds[-1]
        kept = next((entry for entry in self._results.rounds if entry.round == self._restored), last)
        self._note_privacy(EVALUATE, len(self._results.classes), sums.pods)
        if not self._config.privacy:
            for part in CONTRIBUTORS_OF:
                self._note_counted(part, strategy.final)
        if kept is last:
            self._evaluated(self._figures.metrics(sums))
            self._note_standing()
        else:  # the last round's model has not been evaluated
            told = set(self._results.rounds[0].document()) if len(self._results.rounds) > 1 else set[str]()
            unknown = told & (set(Metrics.model_fields) - {"num_examples", "deviations", "intervals", "own"})
            self._replace_last(last.changed(**dict.fromkeys(unknown)))
        why_not = self._results.counted.get("test", CountedRows()).why
        self._note(kept=kept.round, **self._figures.final(sums, self._asked_edges(), why_not))
        if self._strategy and self._config.group_by:
            session = (*strategy.final.pods, *strategy.final.lost)
            asked, place = self._strategy.asked, position_of(self._config.positive, self._encoding)
            self._note(groups=groups_of(asked, sums, self._asked_edges(), session, place))
        if self._config.importance:
            self._note(importance=importance_of(sums, self._encoding, self._results.no_figures))
        if self._test_file:
            self._note(test=kept.test)
            self._note(**self._figures.public(self._test_file, self._arrays, self._results))
        self._write_model(self._encoding, kept.round)
        self._results = self._results.changed(status="completed").without("step")
        self._save()

    def fail(self, error: FlAppError) -> None:
        """Record why the run failed."""
        self._note(status="failed", error=error.full_text, data_error=isinstance(error, DataError))
        if isinstance(error, CohortRefused):
            self._note(approvals=tuple(map(tuple, error.matrix())))
        self._save()

    def _asked_edges(self) -> Edges:
        """Return the cells in which scores were counted in the last step."""
        if self._strategy is None:
            raise FlAppError("no step has been asked yet")
        return edges_of(ends_of(self._strategy.asked))

    def _note_privacy(self, kind: str = "", size: int = 0, pods: int = 0) -> None:
        """Record what is promised, and the noise of a step that so many pods have answered; see `promise_of`."""
        self._note(privacy=promise_of(self._config, self._strategy, self._results, kind, size, pods))

    def _note_counted(self, part: str, step: StepResult) -> None:
        """Record whose rows are in the counts of a step."""
        if self._strategy:
            counted = counted_rows(self._strategy.asked, part, step)
            self._note(counted={**self._results.counted, part: counted})

    def _figures_of(self, encoding: Encoding, positive: int | None, own: Bounds) -> Figures:
        """Return how sums become figures; raises `DataError` if a threshold is to be chosen that the target has not."""
        check_rule(self._config.decision, encoding)
        if encoding.numeric:
            return NumberFigures(encoding, encoding.numeric, own)
        noised = partial(self._noised, positive) if self._config.plan else None
        return ClassFigures(encoding, positive, self._config.decision, noised, own)

    def _noised(self, positive: int | None, counts: Counts, pods: int) -> Metrics:
        if (plan := self._config.plan) is None:
            raise FlAppError("the run's counts carry no noise")
        honest = honest_in(self._config, self._strategy)
        return noised_metrics(counts, plan, honest, pods, self._run.name, positive)

    def _write_model(self, encoding: Encoding, number: int) -> None:
        from fl_app.tabular.model_file import SUFFIXES, TrainedModel
        from fl_app.tabular.network_source import find_source

        origin = {
            "run": self._run.name,
            "settings": self._settled.model_dump(mode="json"),
            "round": number,
            "final": self._results.final.document() if self._results.final else None,
            "privacy": self._results.privacy.document() if self._results.privacy else None,
            "decision": self._results.decision.document() if self._results.decision else None,
        }
        source = find_source(self._config.network) if self._config.network else None
        model = TrainedModel(encoding, network_of(self._settled, self._replica), dict(self._arrays), origin, source)
        for suffix in SUFFIXES:
            model.save(self._run.path / f"model{suffix}")

    def _part_losses(self, sums: Aggregate) -> dict[str, float | None]:
        """Return what is compared beside the loss of a round's model; nothing where no choice is left."""
        if not (self._strategy and self._figures and is_comparing(self._strategy.asked)):
            return {}
        totals = compared_in(self._strategy.asked, sums).by_network
        return {network: self._figures.loss_of(totals[network], sums) for network in PAIR}

    def _note_compared(self) -> None:
        """Record which of the compared networks goes on, once it is known, and score its models from then on."""
        training = self._results.training
        if not (compares(self._config) and training) or training.compared or is_comparing(self._replica):
            return
        network = network_of(self._settled, self._replica)
        self._note(training=training.changed(compared=comparison_of(network, self._results.rounds)))
        if self._test_file:
            self._test_file.use(network)

    def _evaluated(self, metrics: Metrics, compared: Mapping[str, float | None] = MappingProxyType({})) -> None:
        """Record the metrics of the last completed round's model."""
        last = self._results.rounds[-1].changed(**metrics.document(), **({"part_losses": compared} if compared else {}))
        self._replace_last(last)
        self._stopping.evaluated(last, self._arrays, self._results.counted.get("validation", CountedRows()).why)

    def _replace_last(self, entry: RoundResult) -> None:
        self._note(rounds=(*self._results.rounds[:-1], entry))

    def _note_stop(self, number: int) -> None:
        """Record how training stands by early stopping, and whether it ends early with round ``number``."""
        self._note_standing()
        why = self._stopping.why or self._run.stop_asked()
        if why and len(self._results.rounds) < self._settled.rounds and not self.over():
            self._note(stopped=Stop(round=number, why=why))

    def _note_standing(self) -> None:
        if standing := self._stopping.result():
            self._note(early_stopping=standing)

    def _note(self, **changes: Any) -> None:
        self._results = self._results.changed(**changes)

    def _save(self) -> None:
        began = time.monotonic()
        self._note(seconds=round(self._seconds_before + began - self._started, 3))
        if self._strategy is not None:
            self._note(secure_aggregation=aggregation_of(self._strategy, self._aggregation_before))
        self._run.write_results(self._results)
        self._saved = time.monotonic()
        self._cost = self._saved - began


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
