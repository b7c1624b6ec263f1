"""Pods of any Flower app follow a run by themselves: the same model as Flower's own strategy makes, and no other."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import strategy as flowers_own
from flwr.serverapp.strategy import FedAvg

from client.app.masked_app import MaskedApp
from fl_app.flower import names
from fl_app.flower.packing import unpacked
from fl_app.replica.plain_rule import PlainRule
from strategies import CohortRefused, Count, Dropouts, Mean, ReplicatedAggregation, SecureAggregation, Sum, Timing
from tests.strategies.linear_pods import CONFIG, NAMES, LinearPods, config, flat, initial
from tests.support.in_process import InProcessGrid, refusals

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


class FollowingPods(LinearPods):
    """Linear pods whose app declares a rule; the averaging strategy is that of ``averages``."""

    averages = "FedAvg"

    def masked_app(self) -> ClientApp:
        app = ClientApp()
        masked = MaskedApp(app, owner=self.owner, rule=rule(self.averages))

        def told(message: Message) -> Message:
            given = message.content.config_records["config"]
            message.content["config"] = ConfigRecord({**json.loads(str(given[names.RUN])), **given})
            return message

        @masked.train()
        def train(message: Message, context: Context) -> Message:
            return self.handlers["train"](told(message), context)

        masked.evaluate()(lambda message, context: self.handlers["evaluate"](message, context))
        return app

    def owner(self, context: Context) -> Any:
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


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("secure", [True, False])
def test_it_gives_what_flowers_own_strategy_gives(name: str, secure: bool, tmp_path: Path) -> None:
    pods = FollowingPods(tmp_path, secure_only=secure)
    pods.averages = name
    ours = run(replicated(name, secure=secure), pods.grid(1))
    flowers = getattr(flowers_own, name)(**PARAMETERS[name]).start(
        pods.plain_grid(2), initial(), ROUNDS, 5.0, config(), config()
    )
    np.testing.assert_allclose(flat(ours.arrays), flat(flowers.arrays), rtol=0, atol=1e-6)
    assert not np.allclose(flat(ours.arrays), flat(initial()), atol=0.1)
    for number in range(1, ROUNDS + 1):
        theirs = flowers.evaluate_metrics_clientapp[number]
        assert ours.evaluate_metrics_clientapp[number]["loss"] == pytest.approx(theirs["loss"], abs=1e-6)


def test_the_pods_are_sent_a_proof_and_no_model(tmp_path: Path) -> None:
    pods = FollowingPods(tmp_path)
    grid = pods.grid(1)
    strategy = replicated()
    run(strategy, grid)
    contents = [unpacked(message.content) for message in grid.requests]
    assert not [content for content in contents if names.ARRAYS_RECORD in content]
    for name in NAMES:
        context = next(context for context in grid.contexts.values() if context.node_config["pod"] == name)
        place, digest = pods.owner(context).ledger.followed("1")
        # The last evaluation's sum is nobody's question any more: it is not told.
        assert (place, digest) == (strategy.asked.place, strategy.asked.digest)


def test_a_server_that_has_another_model_decodes_nothing(tmp_path: Path) -> None:
    pods = FollowingPods(tmp_path)
    strategy = replicated()
    grid = pods.grid(1)
    strategy.form_cohort(grid, ROUNDS)
    other = {key: array + 1 for key, array in strategy.replica.model.items()}
    strategy.replica = strategy.replica.__class__(model=other)
    with pytest.raises(Exception, match="the signature of pod 'north' does not verify"):
        strategy.start(grid, strategy.model(), ROUNDS, 5.0)


def test_an_app_with_a_rule_takes_part_in_verified_sessions_only(tmp_path: Path) -> None:
    grid = FollowingPods(tmp_path).grid(1)
    with pytest.raises(CohortRefused, match="takes part in verified sessions only"):
        SecureAggregation(FedAvg(), NAMES, timing=Timing(hello=1.0)).form_cohort(grid, ROUNDS)
    assert len(refusals(grid)) == len(NAMES)


def test_an_app_without_a_rule_takes_part_in_none(tmp_path: Path) -> None:
    with pytest.raises(CohortRefused, match="its app has no rule for it"):
        replicated().form_cohort(LinearPods(tmp_path).grid(1), ROUNDS)


def test_a_model_in_a_training_request_is_refused(tmp_path: Path) -> None:
    def add(message: Message) -> Message:
        if message.metadata.message_type == names.MASKED_TRAIN:
            message.content = RecordDict({**message.content, "arrays": initial()})
        return message

    grid = FollowingPods(tmp_path).grid(1, on_request=add)
    with pytest.raises(Exception, match="holds 'arrays', which no pod asks for"):
        run(replicated(), grid)
