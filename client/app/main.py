"""The ClientApp of a pod with a table: statistics, training and evaluation as ordinary Flower handlers, all masked."""

import hashlib
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.app.masked_app import MaskedApp
from client.app.owner import Owner, owner_of
from client.app.table import PodTable
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.federation.kinds import SimulatedFederation, find_federation
from fl_app.flower.names import (
    ARRAYS_RECORD,
    COMPLETED_ROUNDS,
    CONFIG_RECORD,
    DATASTRUCTURE,
    ENCODING,
    EVALUATE,
    LOSS,
    METRICS_RECORD,
    NUM_EXAMPLES,
    PROXIMAL_MU,
    RUN,
    SCHEMA,
    SERVER_ROUND,
    TEST_PREFIX,
)
from fl_app.pod.definition import Pod
from fl_app.pod.pod_file import load_pod
from fl_app.system.home import ENCODED_DIRECTORY, pod_home
from fl_app.tabular.encoding import Encoding, statistic_sums
from fl_app.tabular.metrics import MAX_LOSS, Counts
from fl_app.tabular.schema import CombinedSchema
from fl_app.tabular.settings import DataStructure

app = ClientApp()
_evaluated: WeakKeyDictionary[Message, "tuple[RunConfig, Encoding, Any]"] = WeakKeyDictionary()
"""The network of a message that was evaluated and may be trained next; forgotten with the message."""


def find_pod(context: Context) -> tuple[Pod, Path | None]:
    """Return the pod this node answers for, and the home of its keys: of the node's own config, or simulated."""
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
    return owner_of(pod.name, pod.approved_pods, pod.policy, home=home, schema=lambda: PodTable.of(pod).schema())


masked = MaskedApp(app, owner=find_owner)


@masked.statistics()
def statistics(message: Message, context: Context) -> Message:
    """Sum the training rows' numbers for normalisation and bins."""
    pod, _ = find_pod(context)
    config = message.content.config_records[CONFIG_RECORD]
    schema = CombinedSchema.from_json(str(config[SCHEMA]))
    datastructure = DataStructure.from_json(str(config[DATASTRUCTURE]))
    sums = statistic_sums(PodTable.of(pod).rows("train"), schema, datastructure)
    return _reply(message, MetricRecord({name: array.tolist() for name, array in sums.arrays().items()}))


@masked.train()
def train(message: Message, context: Context) -> Message:
    """Train the network that came in on the pod's training rows."""
    from fl_app.tabular.network import state_of
    from fl_app.tabular.training import train as train_network

    pod, home = find_pod(context)
    config, encoding, network = _model(message)
    rows = PodTable.of(pod).encoded("train", encoding, encoded_directory(pod, home))
    settings = message.content.config_records[CONFIG_RECORD]
    number = int(str(settings[SERVER_ROUND]))
    loss = train_network(
        network,
        rows,
        optimizer=config.optimizer,
        epochs=config.local_epochs,
        steps=config.local_steps,
        batch_size=config.batch_size,
        seed=_seed(config.seed, number, pod.name),
        lr_factor=lr_factor(int(str(settings.get(COMPLETED_ROUNDS, number - 1))) + 1, config.rounds, config.lr_decay),
        proximal_mu=float(str(settings.get(PROXIMAL_MU, 0.0))),
    )
    arrays = ArrayRecord({name: Array(value) for name, value in state_of(network).items()})
    return _reply(message, MetricRecord({NUM_EXAMPLES: len(rows), LOSS: min(loss, MAX_LOSS)}), arrays)


@masked.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Count how the network that came in does on the validation rows and, at the end, on the test rows."""
    from fl_app.tabular.training import evaluate as count_rows

    pod, home = find_pod(context)
    _, encoding, network = _evaluated[message] = _model(message)
    metrics: dict[str, Any] = {}
    parts = {"validation": ""} | ({"test": TEST_PREFIX} if message.metadata.message_type.startswith(EVALUATE) else {})
    for part, prefix in parts.items():
        rows = PodTable.of(pod).encoded(part, encoding, encoded_directory(pod, home))
        classes = len(encoding.labels)
        counts = count_rows(network, rows) if enough(rows.labels, classes, pod) else Counts.zeros(classes)
        metrics |= {f"{prefix}{name}": array.tolist() for name, array in counts.arrays().items()}
        metrics.setdefault(NUM_EXAMPLES, int(counts.confusion.sum()))
    return _reply(message, MetricRecord(metrics))


def encoded_directory(pod: Pod, home: Path | None) -> Path:
    """Return where the pod keeps its rows as arrays, closed to others, from one message to the next."""
    return pod_home(pod.name, home) / ENCODED_DIRECTORY


def enough(labels: Any, classes: int, pod: Pod) -> bool:
    """Say whether the owner lets evaluation counts over these labels (int64 [n]) leave, even as part of a sum."""
    return bool((np.bincount(labels, minlength=classes) >= pod.policy.minimum_rows_per_class).all())


def lr_factor(place: int, rounds: int, last: float) -> float:
    """Return what the learning rate is multiplied by in the ``place``-th round: a cosine from 1 to ``last``."""
    done = min((place - 1) / (rounds - 1), 1.0) if rounds > 1 else 0.0
    return last + (1 - last) * (1 + float(np.cos(np.pi * done))) / 2


def _model(message: Message) -> tuple[RunConfig, Encoding, Any]:
    """Return the settings, the encoding and the network that a request describes, its parameters as they came."""
    if evaluated := _evaluated.pop(message, None):
        return evaluated
    import torch

    from fl_app.tabular.network import build_network, load_state

    torch.set_num_threads(1)
    settings = message.content.config_records[CONFIG_RECORD]
    config = RunConfig.from_json(str(settings[RUN]))
    encoding = Encoding.from_json(str(settings[ENCODING]))
    network = build_network(encoding, config.architecture)
    load_state(network, {name: array.numpy() for name, array in message.content.array_records[ARRAYS_RECORD].items()})
    return config, encoding, network


def _seed(seed: int, number: int, pod: str) -> int:
    """Return a seed of its own for each pod and round, so that a run can be repeated."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{pod}".encode()).digest()[:6], "big")


def _reply(message: Message, metrics: MetricRecord, arrays: ArrayRecord | None = None) -> Message:
    content = RecordDict({METRICS_RECORD: metrics})
    if arrays is not None:
        content[ARRAYS_RECORD] = arrays
    return Message(content, reply_to=message)
