"""The ClientApp of a pod with a table: statistics, training and evaluation as ordinary Flower handlers, all masked.

A training request is answered by `train` alone: it builds the network once, evaluates it as it came in on the
validation rows, and trains it on the training rows.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from client.app import private_answers
from client.app.described import described_sums
from client.app.grouped import counts_by_group, own_groups
from client.app.masked_app import MaskedApp
from client.app.owner import Owner, owner_of
from client.app.pod_table import PodTable
from client.app.repeated_noise import noise_secret, repeatedly_noised
from client.app.shuffled import check_importance, importance_sums
from fl_app.config import RunConfig, Settled
from fl_app.errors import UsageError
from fl_app.federation.kinds import SimulatedFederation, find_federation
from fl_app.flower import names
from fl_app.flower.protocol_settings import MAX_WEIGHTS
from fl_app.identity.key_file import Identity
from fl_app.pod.definition import Pod
from fl_app.pod.pod_file import load_pod
from fl_app.pod.policy import TrainingLimit
from fl_app.privacy.cost import Cost
from fl_app.replica.comparison import PART_LOSSES, compares
from fl_app.replica.declared import Declared
from fl_app.replica.own_network import check_limit
from fl_app.replica.tabular import CONTRIBUTORS_OF, WAYS_OF, TabularRule, arrays_of
from fl_app.run_plan import implied_parameters
from fl_app.secagg.errors import PolicyRefused, ValueRefused
from fl_app.system.home import ENCODED_DIRECTORY, pod_home
from fl_app.tabular.description import Described
from fl_app.tabular.encoding import Encoded, Encoding, statistic_sums, summed_columns
from fl_app.tabular.evaluation import MAX_LOSS, Counts, scored_classes
from fl_app.tabular.label_counts import label_sums
from fl_app.tabular.network_source import find_source
from fl_app.tabular.regime import regime_for
from fl_app.tabular.regression import ERRORS, PAIRS, Errors, place_of_loss
from fl_app.tabular.schema import CombinedSchema
from fl_app.tabular.score_cells import Edges, checked_ends, edges_of, score_cells
from fl_app.tabular.settings import DataStructure

if TYPE_CHECKING:
    from torch import nn

    from fl_app.tabular.own_module import OwnNetwork

app = ClientApp()


def preload() -> None:
    """Import what the handlers import once they need it; a pod calls this before it waits for messages."""
    preload_tables()
    # That they are loaded is the purpose.
    from fl_app.tabular import network, own_module, row_gradients, training  # noqa: F401


def preload_tables() -> None:
    """Import what reads tables alone: a description in simulation trains no network."""
    # pyarrow imports these when it gives NumPy its first array.
    import pandas  # noqa: F401
    from pyarrow import pandas_compat, parquet  # noqa: F401

    from fl_app.tabular import cells, table_file  # noqa: F401


def find_pod(context: Context) -> tuple[Pod, Path | None]:
    """Return the pod this node answers for, and the home of its keys: from the node's own config, or simulated."""
    if "pod" in context.node_config:
        home = context.node_config.get("home")
        return load_pod(str(context.node_config["pod"])), Path(str(home)) if home else None
    federation = find_federation(None, Path.cwd())
    place = context.node_config.get("partition-id")
    if not isinstance(federation, SimulatedFederation) or not isinstance(place, int):
        raise UsageError("this node was started without a pod: --node-config 'pod=\"/path/to/pod.yaml\"'")
    if place >= len(federation.pods):
        raise UsageError(f"the federation '{federation.name}' has {len(federation.pods)} pods, and no number {place}")
    return load_pod(federation.pods[place]), federation.home


def find_owner(context: Context) -> Owner:
    """Return the owner in whose name this node answers."""
    pod, home = find_pod(context)

    def schema(proposal: str) -> str:
        return PodTable.of(pod).schema(proposal, pod_home(pod.name, home) / ENCODED_DIRECTORY)

    def declares(settings: str) -> str:
        config = RunConfig.from_json(settings)
        check_network(pod, config)
        return declared_by(pod, config, home)

    def frame() -> str:
        return PodTable.of(pod).frame(pod_home(pod.name, home) / ENCODED_DIRECTORY)

    return owner_of(pod.name, pod.approved_pods, pod.policy, home=home, schema=schema, declares=declares, frame=frame)


def enough_rows(pod: Pod, config: RunConfig, home: Path | None) -> Mapping[str, bool]:
    """Say of the validation and of the test rows whether they are as many as the owner asks for."""
    proposal, target = config.columns.to_json() if config.columns else "", config.datastructure.target
    directory, numeric = pod_home(pod.name, home) / ENCODED_DIRECTORY, config.loss is not None
    return PodTable.of(pod).enough_rows(target, proposal, directory, numeric=numeric, fold=config.fold)


def declared_by(pod: Pod, config: RunConfig, home: Path | None) -> str:
    """Return what a pod declares of itself for a run, as JSON: its terms, and to which evaluations it can add."""
    # Whether rows are enough is told of them as they are: in a private run noise hides them, however few they are.
    enough: Mapping[str, bool] = dict.fromkeys(("validation", "test"), True)
    if config.describes:  # nothing is evaluated
        enough = dict.fromkeys(enough, False)
    elif not config.privacy:
        enough = enough_rows(pod, config, home)
    check_importance(pod, config)
    policy = pod.policy
    return Declared(
        minimum_cohort=policy.minimum_cohort,
        least_rows=policy.minimum_bin_rows,
        honest_pods=policy.relies_on,
        maximum_parameters=policy.maximum_parameters,
        validation=enough["validation"],
        test=enough["test"],
        **own_groups(pod, config, home),
    ).to_json()


def requested_training(settings: str) -> Mapping[TrainingLimit, int | None]:
    """Return how much training a run's settings, a `RunConfig` as JSON, ask for under each limit of the policy."""
    config = RunConfig.from_json(settings)
    return {
        "maximum_rounds": config.most_rounds,
        "maximum_local_epochs": config.most_local_epochs,
        "maximum_local_steps": config.local_steps,
        "maximum_folds": config.fold.of if config.fold else None,
    }


def run_cost(settings: str) -> Cost | None:
    """Return what a run under these settings costs an owner's privacy budget; None for one without privacy."""
    plan = RunConfig.from_json(settings).plan
    return plan.cost if plan else None


def check_network(pod: Pod, config: RunConfig) -> None:
    """Raise `PolicyRefused` unless the app that runs here has the network of its own that a run names, if it names one.

    The owner has approved that file with its bundle, and no other; asked at the hello, before anything is summed.
    """
    if config.network is None:
        return
    from fl_app.tabular.own_module import OwnNetwork

    try:
        source = find_source(config.network)
    except UsageError as error:
        raise PolicyRefused(
            f"pod '{pod.name}' has not the network that this run names (sha256 {config.network[:12]}...) in the "
            "version of the app that its owner has approved"
        ) from error
    try:
        OwnNetwork.of(source)
    except UsageError as error:  # what it says may quote what is installed here
        raise PolicyRefused(
            f"pod '{pod.name}' cannot load the network of this run: it fails, or imports what is not installed there"
        ) from error


def check_size(pod: Pod, config: RunConfig, rows: int | None = None) -> None:
    """Raise `ValueRefused` if the pod has more rows than the run allows; it tells which largest weight would do.

    Asked before all else: later bounds would tell how many rows are in a cell, or in a part. In a private run it is
    asked of each part that is read, whatever its rows hold: a run that is resumed may allow fewer.

    Parameters
    ----------
    rows : int or None
        How many there are; None: as many as the table has.
    """
    rows = len(PodTable.of(pod).cells) if rows is None else rows
    if rows > config.max_weight:
        enough = [most for most in MAX_WEIGHTS if most >= rows]
        what = f"max_weight {enough[0]} would do" if enough else "no max_weight would do"
        raise ValueRefused(f"pod '{pod.name}' has more than {config.max_weight} rows, the run's max_weight; {what}")


masked = MaskedApp(
    app,
    owner=find_owner,
    requested_training=requested_training,
    implied_parameters=implied_parameters,
    rule=TabularRule(),
    cost=run_cost,
)


@masked.statistics()
def statistics(message: Message, context: Context) -> Message:
    """Sum the training rows' numbers for normalisation and bins, count all rows by their label, and add noise."""
    pod, home = find_pod(context)
    config = message.content.config_records[names.CONFIG_RECORD]
    run = RunConfig.from_json(str(config[names.RUN]))
    check_size(pod, run)
    schema = CombinedSchema.from_json(str(config[names.SCHEMA]))
    datastructure = DataStructure.from_json(str(config[names.DATASTRUCTURE]))
    if run.describes:
        described = Described.of(schema, datastructure, json.loads(str(config[names.SHARED])))
        return _replied(message, _described(pod, home, described, int(str(config[names.COLUMNS]))))
    table, target = PodTable.of(pod), schema.column(datastructure.target).as_target()
    if plan := run.plan:
        noised = private_answers.statistics(plan, _honest(config, pod), table.rows("train"), schema, datastructure)
        return _replied(message, {name: array.tolist() for name, array in noised.items()})
    # Of the usual training rows whatever fold is held out: other rows would have other sums, with noise of their own,
    # and what is said of one row in ten runs would add up.
    sums = statistic_sums(table.rows("train"), schema, datastructure)
    labels = label_sums(table.cells, target, pod.policy.minimum_category_count)
    secret = noise_secret(Identity.load(pod_home(pod.name, home)), pod.name)
    columns = summed_columns(schema, datastructure)
    parts = repeatedly_noised(sums, columns, labels, target, pod.policy.minimum_cohort, secret)
    return _replied(message, {name: array.tolist() for name, array in parts.items()})


@masked.train(evaluates=True)
def train(message: Message, context: Context) -> Message:
    """Evaluate the network that came in on the pod's validation rows, then train it on the training rows."""
    from fl_app.tabular.network import parts_of, state_of
    from fl_app.tabular.training import train as train_network

    pod, home = find_pod(context)
    task = Task.of(message, pod)
    rows = encoded_rows(task, "train", pod, home)
    if plan := task.config.plan:
        told = task.settings[names.SCALES]
        scales = np.frombuffer(told if isinstance(told, bytes) else b"", "<f8")
        update = private_answers.gradient(plan, _honest(task.settings, pod), task.network, rows, scales)
        reply = RecordDict({names.UPDATE: ArrayRecord({names.UPDATE: Array(update)})})
        reply[names.METRICS_RECORD] = MetricRecord({names.NUM_EXAMPLES: 0})
        return Message(reply, reply_to=message)
    evaluation = _metrics({"": count_rows(task, "validation", pod, home)})
    if compares(task.config):
        apart = (
            [replace(task, network=part) for part in parts_of(task.network)] if task.settings[names.COMPARING] else []
        )
        evaluation[PART_LOSSES] = [loss_of(count_rows(one, "validation", pod, home).counts, task) for one in apart]
    config, number = task.config, int(str(task.settings[names.SERVER_ROUND]))
    completed = int(str(task.settings.get(names.COMPLETED_ROUNDS, number - 1)))
    loss = train_network(
        task.network,
        rows,
        optimizer=config.optimizer,
        epochs=config.local_epochs,
        steps=config.local_steps,
        batch_size=config.batch_size,
        min_batch_rows=pod.policy.minimum_batch_rows,
        seed=_seed(config, number, pod.name),
        lr_factor=lr_factor(completed + 1, config.rounds, config.lr_decay),
        proximal_mu=float(str(task.settings.get(names.PROXIMAL_MU, 0.0))),
        numeric=task.encoding.numeric,
        class_weights=task.class_weights,
        own_loss=task.own.loss if task.own else None,
    )
    loss = max(-MAX_LOSS, min(loss, MAX_LOSS))
    content = RecordDict(
        {
            names.ARRAYS_RECORD: arrays_of(state_of(task.network)),
            names.METRICS_RECORD: MetricRecord({names.NUM_EXAMPLES: len(rows), names.LOSS: loss}),
            names.EVALUATE: evaluation,
        }
    )
    return Message(content, reply_to=message)


@masked.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Count how the final network does on the pod's validation and test rows."""
    pod, home = find_pod(context)
    task = Task.of(message, pod)
    if plan := task.config.plan:
        sums = {
            prefix: private_answers.evaluation(
                plan, _honest(task.settings, pod), task.network, encoded_rows(task, part, pod, home), task.edges
            )
            for prefix, part in (("", "validation"), (names.TEST_PREFIX, "test"))
        }
        metrics = {f"{prefix}{name}": array.tolist() for prefix, own in sums.items() for name, array in own.items()}
        return _replied(message, {**metrics, names.NUM_EXAMPLES: 0})
    counts = {"": count_rows(task, "validation", pod, home), names.TEST_PREFIX: count_rows(task, "test", pod, home)}
    adds = task.adds(pod.name, "test") and enough_rows(pod, task.config, home)["test"]
    rows = encoded_rows(task, "test", pod, home) if adds and (task.config.group_by or task.config.importance) else None
    more = {**counts_by_group(task, pod, home, rows), **importance_sums(task, pod, home, rows)}
    return _replied(message, {**_metrics(counts), **more})


def _honest(config: ConfigRecord, pod: Pod) -> int:
    """Return on how many pods' noise a private step relies, as the pod's own replica says.

    Raises
    ------
    PolicyRefused
        If the owner relies on fewer by now than when the training began.
    """
    honest = int(str(config[names.HONEST_PODS]))
    if honest > pod.policy.relies_on:
        raise PolicyRefused(
            f"pod '{pod.name}' relies on the noise of fewer pods by now than when this training began; begin a new run"
        )
    return honest


def _described(pod: Pod, home: Path | None, described: Described, columns: int) -> dict[str, Any]:
    table = PodTable.of(pod)
    sums = described_sums(
        described,
        table.cells,
        table.rows("train"),
        columns=columns,
        least=pod.policy.minimum_category_count,
        minimum_cohort=pod.policy.minimum_cohort,
        secret=noise_secret(Identity.load(pod_home(pod.name, home)), pod.name),
    )
    return {name: array.tolist() for name, array in sums.items()}


def _replied(message: Message, metrics: Mapping[str, Any]) -> Message:
    return Message(RecordDict({names.METRICS_RECORD: MetricRecord(dict(metrics))}), reply_to=message)


@dataclass(frozen=True)
class Task:
    """What a request to train or evaluate describes: settings, encoding, score cells, network and parameters."""

    settings: ConfigRecord
    config: Settled
    encoding: Encoding
    network: "nn.Module"
    edges: Edges
    own: "OwnNetwork | None" = None

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        """What a row of each class counts in training, float64 [C], as the pod's own replica says; None: all alike."""
        told = self.settings.get(names.CLASS_WEIGHTS)
        return np.frombuffer(told, "<f8") if isinstance(told, bytes) else None

    def adds(self, pod: str, part: str) -> bool:
        """Say whether a pod's "validation" or "test" rows are counted in this session."""
        return pod in str(self.settings[CONTRIBUTORS_OF[part]]).split(",")

    def ways(self, part: str) -> list[str]:
        """Return how the rows of each class are counted; see `fl_app.tabular.thin_classes`."""
        return str(self.settings[WAYS_OF[part]]).split(",")

    @classmethod
    def of(cls, message: Message, pod: Pod) -> "Task":
        """Build the network of a request, its parameters as they came.

        Raises
        ------
        PolicyRefused
            If it is the modeller's own, and larger than the pod's owner allows by now.
        """
        import torch

        from fl_app.tabular.network import build_network, load_state
        from fl_app.tabular.own_module import OwnNetwork

        torch.set_num_threads(1)
        settings = message.content.config_records[names.CONFIG_RECORD]
        rows = int(str(settings[names.LABELLED_ROWS]))
        encoding = Encoding.from_json(str(settings[names.ENCODING]))
        regime = regime_for(rows, encoding.outputs)
        config = Settled.of(RunConfig.from_json(str(settings[names.RUN])), regime)
        arrays = message.content.array_records[names.ARRAYS_RECORD]
        if config.network:
            size = sum(math.prod(array.shape) for array in arrays.values())
            check_limit(pod.name, pod.policy.maximum_parameters, size)
        own = OwnNetwork.named(config.network)
        network = build_network(encoding, str(settings.get(names.NETWORK, config.architecture)), own=own)
        load_state(network, {name: array.numpy() for name, array in arrays.items()})
        given = settings[names.SCORE_EDGES]
        cells, scored = score_cells(private=config.privacy is not None), scored_classes(len(encoding.labels))
        ends = checked_ends(given if isinstance(given, bytes) else b"", scored, cells)
        return cls(settings, config, encoding, network, edges_of(ends), own)


def encoded_rows(task: Task, part: str, pod: Pod, home: Path | None) -> Encoded:
    """Return the rows of "train", "validation" or "test" as the run encodes them, kept on the pod's disk meanwhile."""
    directory = pod_home(pod.name, home) / ENCODED_DIRECTORY
    rows = PodTable.of(pod).encoded(part, task.encoding, directory, fold=task.config.fold)
    if task.config.privacy:
        check_size(pod, task.config, len(rows) + rows.dropped)
    return rows


class Evaluated(NamedTuple):
    """How a network does on some rows; ``own`` are the sums of its own metrics, if it is the modeller's own."""

    counts: Counts | Errors
    own: list[float] | None


def count_rows(task: Task, part: str, pod: Pod, home: Path | None) -> Evaluated:
    """Return how the network does on a part's rows; zeros where they are not counted, in a session of these pods."""
    from fl_app.tabular.training import evaluate as evaluate_network
    from fl_app.tabular.training import evaluate_numbers, own_sums

    classes, numeric, metrics = len(task.encoding.labels), task.encoding.numeric, task.own and task.own.metrics
    nothing = None if task.own is None else [0.0] * (len(metrics.bounds) if metrics else 0)
    # As the pod has declared; asked again, since the table or the owner's terms may have changed since.
    if not (task.adds(pod.name, part) and enough_rows(pod, task.config, home)[part]):
        return Evaluated(Errors.zeros(numeric) if numeric else Counts.zeros(classes), nothing)
    rows, ways = encoded_rows(task, part, pod, home), None if numeric else task.ways(part)
    own = own_sums(task.network, rows, metrics, numeric, ways).tolist() if metrics else nothing
    if numeric:
        return Evaluated(evaluate_numbers(task.network, rows, numeric), own)
    return Evaluated(evaluate_network(task.network, rows, task.edges, ways), own)


def loss_of(counts: Counts | Errors, task: Task) -> float:
    """Return the loss of an evaluation, summed over its rows: of a numeric target the error that is learnt."""
    if isinstance(counts, Counts):
        return counts.loss_sum
    return float(counts.sums[place_of_loss(task.encoding.numeric)]) if task.encoding.numeric else 0.0


def lr_factor(place: int, rounds: int, last: float) -> float:
    """Return what the learning rate is multiplied by in the ``place``-th round: a cosine from 1 to ``last``."""
    done = min((place - 1) / (rounds - 1), 1.0) if rounds > 1 else 0.0
    return last + (1 - last) * (1 + float(np.cos(np.pi * done))) / 2


def _seed(config: Settled, number: int, pod: str) -> int:
    """Return a seed of its own for each pod and round, so that a run can be repeated.

    It follows also from how rows are cut into batches, and which are held out. Two runs whose batches differ in a few
    rows would show these, by the difference of their sums.
    """
    cut = f"{config.batch_size}/{config.local_epochs}/{config.local_steps}"
    cut += f"/fold {config.fold}" if config.fold else ""
    return int.from_bytes(hashlib.sha256(f"{config.seed}/{cut}/{number}/{pod}".encode()).digest()[:6], "big")


def _metrics(counts: Mapping[str, Evaluated]) -> MetricRecord:
    """Return counts as metrics, each name behind the prefix of its part; the examples are those of the first."""
    nothing: dict[str, list[float]] = {name: [] for name in (*Counts.zeros(2).arrays(), ERRORS, PAIRS)}
    metrics: dict[str, Any] = {}
    for prefix, part in counts.items():
        arrays = {name: array.tolist() for name, array in part.counts.arrays().items()}
        arrays |= {} if part.own is None else {names.OWN: part.own}
        metrics |= {f"{prefix}{name}": values for name, values in {**nothing, **arrays}.items()}
    first = next(iter(counts.values()))
    return MetricRecord({**metrics, names.NUM_EXAMPLES: first.counts.rows})
