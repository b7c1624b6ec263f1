"""A Flower app of one's own with secure aggregation: linear regression in numpy, both halves in one file."""

import os
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from client import MaskedApp, Owner, owner_of
from fl_app import Policy
from strategies import Mean, SecureAggregation

PODS = ("north", "south")
TRUE = np.array([2.0, -1.0, 0.5])

# --- the pod's half: two ordinary Flower handlers, and whose key, approvals and policy to answer with


def find_owner(context: Context) -> Owner:
    name = PODS[int(context.node_config["partition-id"])]
    return owner_of(name, PODS, Policy(minimum_cohort=2), home=Path(os.environ["FL_APP_HOME"]))


client = ClientApp()
masked = MaskedApp(client, owner=find_owner)


def table(context: Context) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(int(context.node_config["partition-id"]))
    x = rng.normal(size=(200, 3))
    return x, x @ TRUE + rng.normal(scale=0.01, size=200)


@masked.train()
def train(message: Message, context: Context) -> Message:
    (w,), (x, y) = message.content["arrays"].to_numpy_ndarrays(), table(context)
    for _ in range(20):
        w = w - 0.05 * x.T @ (x @ w - y) / len(y)
    metrics = MetricRecord({"num-examples": len(y), "loss": float(np.mean((x @ w - y) ** 2))})
    return Message(RecordDict({"arrays": ArrayRecord([w]), "metrics": metrics}), reply_to=message)


# --- the server's half: wrap the strategy

server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    strategy = SecureAggregation(FedAvg(fraction_evaluate=0), pods=PODS, train_metrics=[Mean("loss")])
    result = strategy.start(grid, ArrayRecord([np.zeros(3)]), num_rounds=5)
    print(result.arrays.to_numpy_ndarrays()[0], dict(result.train_metrics_clientapp[5]))
