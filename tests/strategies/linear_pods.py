"""Pods that fit a small linear model: plain Flower handlers, served masked, or as they are to Flower's strategies."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.app.masked_app import MaskedApp
from client.app.owner import Owner, owner_of
from fl_app.identity.known_pods import Keyring, keygen, known_pods
from fl_app.pod.definition import Policy
from strategies import Aggregation, Count, Dropouts, Hooks, Mean, SecureAggregation, StartingPoint, Sum, Timing
from tests.support.in_process import InProcessGrid

NAMES = ("north", "south", "west")
EXAMPLES = {"north": 17, "south": 30, "west": 45, "east": 20}
CONFIG = {"lr": 0.05}
GROUPS: Mapping[str, Any] = {
    "dropouts": Dropouts, "timing": Timing, "starting_point": StartingPoint, "hooks": Hooks,
}  # fmt: skip
Floats = npt.NDArray[np.float64]
Handler = Callable[[Message, Context], Message]


def table(name: str) -> tuple[Floats, Floats]:
    """Return a pod's rows: x [n, 4] and y [n, 3]."""
    rng = np.random.default_rng(sum(name.encode()))
    x = rng.normal(size=(EXAMPLES[name], 4))
    return x, x @ np.arange(12).reshape(4, 3) / 6 - 1 + rng.normal(scale=0.1, size=(len(x), 3))


def initial(dtype: Any = np.float64) -> ArrayRecord:
    rng = np.random.default_rng(3)
    arrays = {"w": rng.normal(size=(4, 3)), "b": np.zeros(3)}
    return ArrayRecord({name: Array(array.astype(dtype)) for name, array in arrays.items()})


def flat(arrays: ArrayRecord) -> Floats:
    return np.concatenate([array.numpy().ravel().astype(np.float64) for array in arrays.values()])


@dataclass
class LinearPods:
    """Pods with keys in homes of their own, who know and approve each other unless a test changes it.

    ``handlers`` may be replaced by a test: they are looked up whenever a message comes.
    """

    directory: Path
    names: Sequence[str] = NAMES
    secure_only: bool = True
    approved: dict[str, Sequence[str]] = field(init=False)
    policies: dict[str, Policy] = field(init=False)
    handlers: dict[str, Handler] = field(init=False)

    def __post_init__(self) -> None:
        keys = {name: keygen(name, self.home(name)).public_bytes for name in self.names}
        for name in self.names:
            keyring = Keyring.load(known_pods(self.home(name)))
            for other in self.names:
                keyring.add(other, keys[other])
        self.approved = dict.fromkeys(self.names, tuple(self.names))
        policy = Policy(minimum_cohort=2, require_secure_aggregation=self.secure_only)
        self.policies = dict.fromkeys(self.names, policy)
        self.handlers = {"train": train, "evaluate": evaluate, "statistics": statistics}

    def home(self, name: str) -> Path:
        return self.directory / f"home of {name}"

    def owner(self, context: Context) -> Owner:
        name = str(context.node_config["pod"])
        return owner_of(
            name, self.approved[name], self.policies[name], home=self.home(name), schema=lambda proposal: "{}"
        )

    def masked_app(self) -> ClientApp:
        app = ClientApp()
        masked = MaskedApp(app, owner=self.owner)
        masked.train()(lambda message, context: self.handlers["train"](message, context))
        masked.evaluate()(lambda message, context: self.handlers["evaluate"](message, context))
        masked.statistics()(lambda message, context: self.handlers["statistics"](message, context))
        return app

    def grid(self, run_id: int = 1, nodes: Sequence[str] | None = None, **tamper: Any) -> InProcessGrid:
        """Return a grid on which the pods answer masked; ``nodes`` names the pod of each node."""
        found = dict(enumerate(self.names if nodes is None else nodes, start=101))
        return InProcessGrid(self.masked_app(), {n: {"pod": name} for n, name in found.items()}, run_id, **tamper)

    def plain_grid(self, run_id: int = 1) -> InProcessGrid:
        """Return a grid on which the same handlers answer Flower's own strategies."""
        app = ClientApp()
        app.train()(train)
        app.evaluate()(evaluate)
        return InProcessGrid(app, {n: {"pod": name} for n, name in enumerate(self.names, start=101)}, run_id)


def strategy(inner: Any, names: Sequence[str] = NAMES, **settings: Any) -> SecureAggregation:
    """Return the secure strategy over the handlers' metrics; a test waits for nothing.

    ``settings`` are those of `SecureAggregation`, and the fields of its groups of settings by their own names.
    """
    defaults: Mapping[str, Any] = {
        "train_metrics": [Mean("loss")],
        "evaluate_metrics": [Mean("loss"), Count("hits"), Sum("residuals", bound=1e4, size=3)],
        "hello": 1.0,
        "rejoin": 0.2,
        "membership_changes": 0,
        "grace": 0.0,
        "poll": 0.01,
    }
    given = {**defaults, **settings}
    groups = {
        "aggregation": Aggregation(**_taken(given, Aggregation.model_fields)),
        **{name: group(**_taken(given, (item.name for item in fields(group)))) for name, group in GROUPS.items()},
    }
    return SecureAggregation(inner, names, **{**groups, **given})


def _taken(settings: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: settings.pop(name) for name in names if name in settings}


def config() -> ConfigRecord:
    return ConfigRecord(dict(CONFIG))


# --- the handlers, as any Flower app has them


def train(message: Message, context: Context) -> Message:
    x, y = table(str(context.node_config["pod"]))
    settings = message.content.config_records["config"]
    rate, mu = float(str(settings["lr"])), float(str(settings.get("proximal-mu", 0.0)))
    first = {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}
    w, b = first["w"].astype(np.float64), first["b"].astype(np.float64)
    for _ in range(4):
        wrong = x @ w + b - y
        w = w - rate * (x.T @ wrong / len(x) + mu * (w - first["w"]))
        b = b - rate * (wrong.mean(axis=0) + mu * (b - first["b"]))
    new = {"w": w.astype(first["w"].dtype), "b": b.astype(first["b"].dtype)}
    metrics = {"num-examples": len(x), "loss": float((wrong**2).mean())}
    arrays = ArrayRecord({name: Array(array) for name, array in new.items()})
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)}), reply_to=message)


def evaluate(message: Message, context: Context) -> Message:
    x, y = table(str(context.node_config["pod"]))
    arrays = {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}
    wrong = x @ arrays["w"] + arrays["b"] - y
    metrics: dict[str, Any] = {"num-examples": len(x), "loss": float((wrong**2).mean())}
    metrics |= {"hits": int((np.abs(wrong) < 1).all(axis=1).sum()), "residuals": wrong.sum(axis=0).tolist()}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


def statistics(message: Message, context: Context) -> Message:
    x, _ = table(str(context.node_config["pod"]))
    metrics = MetricRecord({"x": x.sum(axis=0).tolist(), "rows": len(x)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
