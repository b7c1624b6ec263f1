"""What the JSON files of a run directory hold: `Results` is results.json, `RunRequest` is config.json.

Both are read and written through these types only. A file says no more than was set: a round that has not been
evaluated has no metrics, where ``null`` is a metric that no row defines. Keys that a reader does not know, of a newer
version, are kept and written back. The JSON schema of results.json is docs/reference/results.schema.json
(`make schema` writes it).
"""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from server.app.description_result import DescriptionResult
from server.app.document import Document, written
from server.app.group_result import GroupResult
from server.app.importance_result import ImportanceResult
from server.app.privacy_result import PrivacyResult

Status = Literal["running", "completed", "failed", "interrupted"]
Number = float | None
"""A metric; None where no row defines it."""


class Metrics(Document):
    """Metrics over rows that no model was trained on; see `fl_app.tabular.evaluation.metrics_of`."""

    accuracy: Number = None
    balanced_accuracy: Number = None
    """Mean of the recall of the classes that have rows."""
    auc: Number = None
    """Area under the ROC curve; with more than two classes, the mean over the classes, each against the rest."""
    f1: Number = None
    """As recall and precision, of the class `Results.positive`, or the mean over the classes where that is null."""
    recall: Number = None
    precision: Number = None
    brier: Number = None
    """Mean squared error of the predicted probabilities."""
    loss: Number = None
    """Mean cross entropy, in nats a row; of a numeric target the mean of what training makes small, see
    `RegressionResult.loss`, in standard deviations."""
    mae: Number = None
    """Of a numeric target, as `rmse` and `r2`: mean absolute error, in the target's unit."""
    rmse: Number = None
    """Root of the mean squared error, in the target's unit."""
    r2: Number = None
    """Share of the variance of these rows' values that the model explains; null where they are all the same."""
    own: Mapping[str, Number] = Field(default_factory=dict)
    """Means over the rows of what a network of the modeller's own computes of each, by name."""
    num_examples: int | None = None
    """Rows counted."""
    deviations: Mapping[str, float] = Field(default_factory=dict)
    """In a private run, whose counts carry noise: the standard deviation that it gives each of these metrics. Rows of a
    public test file carry none."""
    intervals: Mapping[str, tuple[float, float]] = Field(default_factory=dict)
    """95% confidence intervals of those metrics that have one, of the run's model; see `fl_app.tabular.intervals`."""


class Loss(Document):
    """At which point of a round a pod was lost, and why; see `strategies.steps.Loss`."""

    step: str = ""
    why: str = ""
    code: str = ""
    """The check that failed, where the pod itself refused."""

    @property
    def text(self) -> str:
        """What is known, in one line."""
        return ", ".join(filter(None, (self.step, self.why, self.code)))


def _loss(given: Any) -> Any:
    return {"why": given} if isinstance(given, str) else given  # as the first version wrote it


Losses = Mapping[str, Annotated[Loss, BeforeValidator(_loss)]]
"""By the pods' names."""


class Training(Document):
    """What is known of a round as soon as its updates are averaged."""

    round: int = 0
    """The round's number, from 1; numbers of skipped rounds are missing."""
    train_loss: Number = None
    """Mean training loss of the pods that took part."""
    clipped: int = 0
    """Elements of the updates that exceeded ``update_bound`` and were clipped."""
    weight: int = 0
    """Sum of the pods' weights: training rows, or pods where all count the same."""
    seconds: float = 0.0
    pods: tuple[str, ...] = ()
    """Pods whose updates are in the average."""
    lost: Losses = Field(default_factory=dict)
    """Pods that were lost on the way."""
    test: Metrics | None = None
    """The model on the modeller's public test file, if there is one."""


class RoundResult(Metrics, Training):
    """A completed round: its training, and the metrics of its model on the validation rows of all pods together.

    The metrics come in with the next step, in which the pods evaluate the model that they are about to train.
    """

    model_config = written("round", "train_loss", "clipped", "weight", "seconds", "pods", "lost")

    part_losses: Mapping[str, Number] = Field(default_factory=dict)
    """While networks are compared: the loss of either part of the pair on the same rows, by its architecture."""

    @property
    def evaluated(self) -> bool:
        """Whether the metrics have come in."""
        return bool({"auc", "r2"} & self.model_fields_set)


class RegressionResult(Document):
    """A numeric target: how it is learnt, and how the model's predictions lie beside it."""

    target: str = ""
    """The target's name."""
    unit: str = ""
    """The unit of its numbers, as far as owners name it."""
    low: float = 0.0
    high: float = 0.0
    """Its public bounds, to which values and predictions are clipped."""
    mean: float = 0.0
    std: float = 1.0
    """Of the training rows of all pods, up to the noise in the statistics."""
    loss: str = "squared"
    """What training makes small: "squared" error or "absolute"."""
    groups: tuple[float, ...] = ()
    """Ascending edges of groups of values."""
    pairs: tuple[tuple[int, ...], ...] = ()
    """The pods' test rows by the group of the value, down, and of the prediction, across."""
    test_pairs: tuple[tuple[int, ...], ...] = ()
    """The same of the public test file's rows."""


class CountedRows(Document):
    """Whose rows the counts of an evaluation are of."""

    model_config = written("pods", "of")

    pods: tuple[str, ...] = ()
    """The pods that add theirs."""
    of: int = 0
    """The pods that take part."""
    together: tuple[str, ...] = ()
    """Classes that too few pods publish: their rows count in accuracy, loss and Brier score alone."""
    left_out: tuple[str, ...] = ()
    """Classes whose rows are not counted at all."""
    why: tuple[str, ...] = ()
    """What keeps rows out, a sentence each."""

    @property
    def told(self) -> str:
        """The pods in words: "2 of 3 pods", "all 3 pods"."""
        return f"{'all' if len(self.pods) == self.of else f'{len(self.pods)} of'} {self.of} pods"


class Decision(Document):
    """The score from which on a row is of the second of two classes, and the figures by class there."""

    rule: str
    """"youden" or "f1": what is best there on the pods' validation rows."""
    threshold: Number = None
    """Null where the pods' validation rows do not tell: rows are of their more probable class."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts of the pods' test rows at the threshold, as `Results.confusion`."""
    final: Metrics | None = None
    """Figures over these rows."""
    test_confusion: tuple[tuple[int, ...], ...] = ()
    test: Metrics | None = None
    """The same over the rows of the public test file."""


class LabelRows(Document):
    """Rows of all pods together by their label; a pod adds no count below its ``minimum_category_count``."""

    model_config = written("target", "classes", "missing", "unpublished")

    target: str = ""
    """The target's name."""
    classes: tuple[int, ...] = ()
    """Rows of each class, in the order of `Results.classes`; of a numeric target, rows with a number."""
    missing: int = 0
    """Rows without a label; they train and test nothing."""
    unpublished: int = 0
    """Rows whose label no pod publishes, since too few have it; they train and test nothing."""


class SkippedRound(Document):
    """A round that could not be completed; the model stayed as it was."""

    round: int
    lost: Losses = Field(default_factory=dict)
    why: str = ""


class StepProgress(Document):
    """The step under way."""

    model_config = written("name", "round", "of", "waiting")

    name: str = ""
    """"hello", "statistics", "train" or "evaluate"."""
    round: int = 0
    of: int = 0
    """Rounds that the run is to complete."""
    waiting: tuple[str, ...] = ()
    """Pods that have yet to answer."""
    trip: str | None = None
    """The part of the step under way, such as "roster", "consistency" or "unmask"."""


class StepCost(Document):
    """What one kind of step has cost so far, all pods together."""

    model_config = written("messages", "bytes_out", "bytes_in", "seconds")

    messages: int = 0
    bytes_out: int = 0
    """Payload bytes sent to the pods."""
    bytes_in: int = 0
    """Payload bytes received from the pods."""
    seconds: tuple[float, ...] = ()
    """Duration of each step of this kind."""

    def plus(self, other: "StepCost") -> "StepCost":
        """Return what both cost; the steps of this one come first."""
        return StepCost(
            messages=self.messages + other.messages,
            bytes_out=self.bytes_out + other.bytes_out,
            bytes_in=self.bytes_in + other.bytes_in,
            seconds=self.seconds + other.seconds,
        )


class AggregationResult(Document):
    """The settings of the secure sums, and their cost since the run first began."""

    enabled: bool = True
    """Whether the pods' vectors are masked."""
    prime_q: int = 0
    """Order of the field."""
    update_bound: float = 0.0
    """Largest magnitude of an element of an update."""
    max_weight: int = 0
    """Largest weight of one pod."""
    weighting: str = "examples"
    threshold: int | None = None
    """Replies that open a sum; null before a session began, and where nothing is masked."""
    sessions: int = 0
    """Sessions begun: the first, and one after each loss of pods."""
    steps: Mapping[str, StepCost] = Field(default_factory=dict)
    """By kind: "roster", "statistics", "train", "consistency", "unmask", "evaluate"."""

    @property
    def bytes_out(self) -> int:
        """Payload bytes sent to the pods so far."""
        return sum(cost.bytes_out for cost in self.steps.values())

    @property
    def bytes_in(self) -> int:
        """Payload bytes received from the pods so far."""
        return sum(cost.bytes_in for cost in self.steps.values())


class PodResult(Document):
    """A pod that takes part."""

    model_config = written("name", "key", "approves", "versions")

    name: str
    key: str = ""
    """Fingerprint of its identity key."""
    approves: tuple[str, ...] = ()
    """Pods of the cohort that its owner approves."""
    versions: Mapping[str, str] = Field(default_factory=dict)
    """Installed versions, by package."""
    published: Mapping[str, Any] = Field(default_factory=dict, alias="schema")
    """The schema that the pod publishes; only where the pods are asked for no more than that."""
    online_since: str | None = None
    """Since when its node has been connected (ISO 8601), where the SuperLink tells; with the schema only."""
    last_seen: str | None = None
    """When it answered (ISO 8601); with the schema only."""


class Stop(Document):
    """Why training ended before its last round, and after which."""

    round: int
    why: str = ""


class ComparisonResult(Document):
    """What came of the architecture "auto": the networks that were compared, and the one that was trained on."""

    round: int = 0
    """The round whose models were compared."""
    losses: Mapping[str, Number] = Field(default_factory=dict)
    """The mean loss of each on the same validation rows, by its architecture; null where no pod adds any."""
    rows: int = 0
    """How many rows these are, of all pods."""
    chosen: str = ""
    """The architecture that was trained on."""
    why: str = ""


class TrainingResult(Document):
    """How the pods train, of which a part follows from their table unless the modeller has said it."""

    rows: int = 0
    """Labelled rows of all pods together, as their noised counts tell: what the rest follows from; 0 with privacy."""
    follows: tuple[str, ...] = ()
    """The names of those settings that the modeller has left open."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Those of config.json that say how is trained: architecture, rounds, local_epochs, local_steps,
    batch_size, optimizer, lr_decay, early_stopping. There are fewer rounds than these where training ends early."""
    compared: ComparisonResult | None = None
    """Of the architecture "auto", once the networks have been compared."""

    @property
    def rounds(self) -> int:
        """Rounds at most."""
        return int(self.settings.get("rounds", 0))


class EarlyStoppingResult(Document):
    """How far training is by its early stopping."""

    metric: str = ""
    best: Number = None
    best_round: int = 0
    """0 while the metric has not been defined in any round."""
    without_improvement: int = 0
    """Rounds evaluated since the last improvement."""


class Resumption(Document):
    """The moment at which the run was resumed."""

    time: str
    """ISO 8601, UTC."""
    after: int
    """The last completed round."""
    status: Status | None = None
    """How the run had ended."""
    why: str = ""


class Results(Document):
    """All that a run has come to so far. The file is rewritten after every step, and while pods are waited for."""

    model_config = written("run_id", "status", "rounds")

    run_id: str = ""
    """The run's name, by which the pods know it too."""
    status: Status | None = None
    """Null only where there is no results.json yet."""
    started: str | None = None
    """ISO 8601, UTC."""
    rounds: tuple[RoundResult, ...] = ()
    """The completed rounds."""
    step: StepProgress | None = None
    """The step under way; in a failed run, the one that failed."""
    pods: tuple[PodResult, ...] = ()
    schema_differences: tuple[str, ...] = ()
    """In what the pods' schemas differ, a sentence each."""
    classes: tuple[str, ...] = ()
    """The target's values, in the order of the confusion matrix; none where it is a number."""
    regression: RegressionResult | None = None
    """Of a numeric target; null where classes are learnt."""
    label_counts: LabelRows | None = None
    test_left_out: Mapping[str, int] = Field(default_factory=dict)
    """Rows of the public test file that are not scored, by their label's text, "" where it is missing."""
    notes: tuple[str, ...] = ()
    """What the modeller should know of a run that goes its way all the same, a sentence each."""
    privacy: PrivacyResult | None = None
    """What is promised about any one row; of runs without privacy too. Null before the cohort is formed."""
    training: TrainingResult | None = None
    """Null before the statistics have been summed."""
    description: DescriptionResult | None = None
    """What the pods' tables hold together; of a run that describes them, and trains nothing."""
    early_stopping: EarlyStoppingResult | None = None
    stopped: Stop | None = None
    skipped: tuple[SkippedRound, ...] = ()
    resumed: tuple[Resumption, ...] = ()
    counted: Mapping[str, CountedRows] = Field(default_factory=dict)
    """Whose "validation" and whose "test" rows the figures over the pods' rows are of; not in a private run, where all
    pods add theirs."""
    kept: int | None = None
    """The round whose model is the run's model."""
    final: Metrics | None = None
    """The run's model on the test rows of all pods together."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts of the pods' test rows: true classes down, predicted classes across. Here and in `histograms`, 0 where the
    noise of a private run has put one below; `final` is of the counts as they were."""
    histograms: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Counts of the pods' test rows by class scored, by outside (0) or inside (1) that class, and by cell of the score.
    Of two classes only the second is scored."""
    score_edges: tuple[tuple[float, ...], ...] = ()
    """The edges of these cells, for each class scored; without them, cells are even in arcsin(sqrt(score))."""
    auc_error: Number = None
    """Largest error of `final`'s AUC, as rows whose scores share a cell count as ties."""
    positive: str | None = None
    """The class that f1, recall and precision are of; null: the mean over the classes."""
    groups: GroupResult | None = None
    """The run's model on the pods' test rows by group, where a column was named and all owners allow it."""
    importance: ImportanceResult | None = None
    """What each column is worth to the run's model on the pods' test rows, where that was asked for."""
    decision: Decision | None = None
    """The decision threshold, where one was asked for; all other figures are of the most probable class."""
    no_figures: str = ""
    """Why there are no figures over the pods' rows; empty where there are."""
    test: Metrics | None = None
    """The run's model on the public test file."""
    test_confusion: tuple[tuple[int, ...], ...] = ()
    """Counts of the public test file's rows, as `confusion`; only where the pods add no rows."""
    test_histograms: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Counts of the public test file's rows, as `histograms`."""
    test_edges: tuple[tuple[float, ...], ...] = ()
    """The edges of these cells, as `score_edges`."""
    error: str | None = None
    """Why the run failed or was interrupted."""
    data_error: bool = False
    """Whether what the pods publish is why it failed."""
    approvals: tuple[tuple[str, ...], ...] = ()
    """Who approves whom, where the cohort was refused: a table with a head in its first row and column."""
    problems: tuple[str, ...] = ()
    """Of discovery: a sentence for each node that could not answer."""
    seconds: float | None = None
    """Time that the run has taken, before it was resumed too."""
    secure_aggregation: AggregationResult | None = None

    @property
    def evaluated(self) -> tuple[RoundResult, ...]:
        """The completed rounds whose metrics are known."""
        return tuple(entry for entry in self.rounds if entry.evaluated)

    @property
    def private(self) -> bool:
        """Whether something is promised about single rows: then no round is evaluated but the last."""
        return self.privacy is not None and self.privacy.epsilon is not None

    @property
    def known(self) -> tuple[RoundResult, ...]:
        """The first rounds, of which all is known that will be: they are evaluated, or never will be."""
        if self.private:
            return self.rounds if self.status == "completed" else self.rounds[:-1]
        return tuple(itertools.takewhile(lambda entry: entry.evaluated, self.rounds))

    @property
    def restored(self) -> bool:
        """Whether the model that was kept is not that of the last round."""
        return self.kept is not None and self.kept != self.rounds[-1].round


class Discovery(Document):
    """A request to ask pods what they publish; see `strategies.discovery.discover_pods`."""

    names: tuple[str, ...]
    timeout: float = 60.0
    """Seconds for the pods to connect and answer."""
    required: bool = True
    """Whether each of them must answer."""
    proposal: str = ""
    """What is proposed for their columns: a `ColumnSpec` as JSON."""


class RunRequest(Document):
    """What the modeller asks for: a training, or a discovery."""

    run: Mapping[str, Any] | None = None
    """The settings as they were written, perhaps by another version; `RunDirectory.config` checks them."""
    federation: str | None = None
    source: str | None = None
    """Where the federation is defined, as ``--federation`` takes it."""
    test_file: str | None = None
    """The modeller's public test rows."""
    test_read_options: Mapping[str, Any] = Field(default_factory=dict)
    """How pandas reads them."""
    expected: Mapping[str, Any] | None = Field(default=None, alias="schema")
    """The schema that the modeller takes the pods to publish."""
    discovery: Discovery | None = Field(default=None, alias="look")

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings as they were written; empty where nothing is trained."""
        return self.run or {}
