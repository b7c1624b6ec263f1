"""Flower's plain federated averaging as its users write it: a train step and an evaluate step in every round.

Model, optimiser and rows are those of the runs it is compared with. Where they lie says the variable `TESTBED`.
"""

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.testbed import load_config, load_encoding, load_rows
from fl_app.tabular.encoding import Encoded

TESTBED, TIMES = "FL_APP_BENCH_TESTBED", "times.json"
client_app = ClientApp()
server_app = ServerApp()


def _directory() -> Path:
    return Path(os.environ[TESTBED])


def _network(arrays: ArrayRecord) -> Any:
    import torch

    from fl_app.tabular.network import build_network, load_state

    torch.set_num_threads(1)
    network = build_network(load_encoding(_directory()), load_config(_directory()).architecture)
    load_state(network, {name: array.numpy() for name, array in arrays.items()})
    return network


def _rows(context: Context, part: str) -> Encoded:
    return load_rows(_directory(), int(str(context.node_config["partition-id"])), part)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Train the network that came in."""
    from fl_app.tabular.training import train as train_network

    config, network = load_config(_directory()), _network(message.content.array_records["arrays"])
    rows = _rows(context, "train")
    loss = train_network(
        network, rows, optimizer=config.optimizer, epochs=config.local_epochs, batch_size=config.batch_size
    )
    metrics = MetricRecord({"loss": loss, "num-examples": len(rows)})
    return Message(RecordDict({"arrays": _record(network), "metrics": metrics}), reply_to=message)


@client_app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the averaged network."""
    from fl_app.tabular.training import evaluate as count_rows

    rows = _rows(context, "validation")
    counts = count_rows(_network(message.content.array_records["arrays"]), rows)
    right = float(counts.confusion.trace() / counts.confusion.sum())
    metrics = MetricRecord({"accuracy": right, "num-examples": len(rows)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Run Flower's FedAvg and write down how long each round took."""
    from fl_app.tabular.network import build_network

    config = load_config(_directory())
    times: list[float] = []

    def note(number: int, arrays: ArrayRecord) -> None:
        times.append(time.perf_counter())

    pods = len(config.pods)
    strategy = FedAvg(min_train_nodes=pods, min_evaluate_nodes=pods, min_available_nodes=pods)
    network = build_network(load_encoding(_directory()), config.architecture)
    strategy.start(grid, _record(network), num_rounds=config.rounds, evaluate_fn=note)
    seconds = [end - start for start, end in itertools.pairwise(times)]
    Path(os.environ["FL_APP_RUN_DIR"], TIMES).write_text(json.dumps(seconds))


def _record(network: Any) -> ArrayRecord:
    from fl_app.tabular.network import state_of

    return ArrayRecord({name: Array(value) for name, value in state_of(network).items()})
