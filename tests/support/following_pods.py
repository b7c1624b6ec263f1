"""Linear pods whose app declares a rule, and the strategy for them: runs that every pod follows by itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from client.app.masked_app import MaskedApp
from client.app.owner import Owner
from fl_app.flower import names
from fl_app.plain_rule import PlainRule
from fl_app.replica.rule import Rule
from strategies import Count, Dropouts, Mean, ReplicatedAggregation, Sum, Timing
from tests.strategies.linear_pods import CONFIG, NAMES, LinearPods, initial
from tests.support.in_process import InProcessGrid

ROUNDS = 3
SETTINGS = json.dumps(CONFIG)
PARAMETERS: Mapping[str, dict[str, float]] = {
    "FedAvg": {},
    "FedAdam": {"eta": 0.1, "tau": 0.01},
    "FedAvgM": {"server_learning_rate": 0.7, "server_momentum": 0.9},
    "FedProx": {"proximal_mu": 0.5},
}
SIZES = {"evaluate.residuals": 3}


def rule(name: str = "FedAvg") -> PlainRule:
    model = {key: array.numpy() for key, array in initial().items()}
    return PlainRule(lambda settings: model, name, PARAMETERS[name], SIZES)


@dataclass
class FollowingPods(LinearPods):
    """Linear pods whose app declares a rule."""

    rule: Rule | None = None

    def masked_app(self) -> ClientApp:
        app = ClientApp()
        masked = MaskedApp(app, owner=self.owner, rule=self.rule or rule())

        def told(message: Message) -> Message:
            given = message.content.config_records["config"]
            message.content["config"] = ConfigRecord({**json.loads(str(given[names.RUN])), **given})
            return message

        @masked.train()
        def train(message: Message, context: Context) -> Message:
            return self.handlers["train"](told(message), context)

        masked.evaluate()(lambda message, context: self.handlers["evaluate"](message, context))
        return app

    def owner(self, context: Context) -> Owner:
        return replace(super().owner(context), replicas=self.home(str(context.node_config["pod"])) / "replicas")


def replicated(name: str = "FedAvg", pods: tuple[str, ...] = NAMES, **others: Any) -> ReplicatedAggregation:
    return ReplicatedAggregation(
        rule(name),
        SETTINGS,
        pods,
        train_metrics=[Mean("loss")],
        evaluate_metrics=[Mean("loss"), Count("hits"), Sum("residuals", bound=1e4, size=3)],
        timing=Timing(hello=1.0, rejoin=0.2, grace=0.0, poll=0.01),
        **{"dropouts": Dropouts(membership_changes=0), **others},
    )


def run(strategy: ReplicatedAggregation, grid: InProcessGrid) -> Any:
    strategy.form_cohort(grid, ROUNDS)
    return strategy.start(grid, strategy.model(), ROUNDS, 5.0)
