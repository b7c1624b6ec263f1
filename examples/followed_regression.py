"""The linear regression of linear_regression.py, whose pods follow the run by themselves and are sent no model."""

import os
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client import MaskedApp, Owner, owner_of
from fl_app import Policy
from fl_app.plain_rule import PlainRule
from strategies import Mean, ReplicatedAggregation

PODS = ("north", "south")
TRUE = np.array([2.0, -1.0, 0.5])


def find_owner(context: Context) -> Owner:
    name = PODS[int(context.node_config["partition-id"])]
    return owner_of(name, PODS, Policy(minimum_cohort=2), home=Path(os.environ["FL_APP_HOME"]))


def table(context: Context) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(int(context.node_config["partition-id"]))
    x = rng.normal(size=(200, 3))
    return x, x @ TRUE + rng.normal(scale=0.01, size=200)


client, server = ClientApp(), ServerApp()

# --- what pods and server share: how the first model is built, and how it is averaged

rule = PlainRule(lambda settings: {"w": np.zeros(3)}, "FedAvg")

# --- the pod's half

masked = MaskedApp(client, owner=find_owner, rule=rule)


@masked.train()
def train(message: Message, context: Context) -> Message:
    (w,), (x, y) = message.content["arrays"].to_numpy_ndarrays(), table(context)
    for _ in range(20):
        w = w - 0.05 * x.T @ (x @ w - y) / len(y)
    metrics = MetricRecord({"num-examples": len(y), "loss": float(np.mean((x @ w - y) ** 2))})
    return Message(RecordDict({"arrays": ArrayRecord({"w": Array(w)}), "metrics": metrics}), reply_to=message)


# --- the server's half


@server.main()
def main(grid: Grid, context: Context) -> None:
    strategy = ReplicatedAggregation(rule, settings="{}", pods=PODS, train_metrics=[Mean("loss")])
    strategy.form_cohort(grid, 5)
    result = strategy.start(grid, strategy.model(), num_rounds=5)
    print(result.arrays.to_numpy_ndarrays()[0], dict(result.train_metrics_clientapp[5]))
