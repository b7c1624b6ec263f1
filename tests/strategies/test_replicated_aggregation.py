"""Pods of any Flower app follow a run by themselves: the same model as Flower's own strategy makes, and no other."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import strategy as flowers_own
from flwr.serverapp.strategy import FedAvg

from fl_app.flower import names
from fl_app.flower.packing import unpacked
from fl_app.identity.known_pods import keygen
from strategies import CohortRefused, SecureAggregation, Timing
from tests.strategies.linear_pods import NAMES, LinearPods, config, flat, initial
from tests.support.following_pods import PARAMETERS, ROUNDS, FollowingPods, replicated, rule, run
from tests.support.in_process import InProcessGrid, refusals


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("secure", [True, False])
def test_it_gives_what_flowers_own_strategy_gives(name: str, secure: bool, tmp_path: Path) -> None:
    pods = FollowingPods(tmp_path, secure_only=secure, rule=rule(name))
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


# --- the example of another Flower app


def test_the_examples_pods_follow_the_run_and_are_sent_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path))
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "followed_regression.py"))
    for name in example["PODS"]:
        keygen(name)
    grid = InProcessGrid(example["client"], {n: {"partition-id": str(n - 1)} for n in (1, 2)})
    example["server"](grid, Context(grid.run_id, 0, {}, RecordDict(), {}))
    printed = capsys.readouterr().out.strip().splitlines()[-1]
    found = [float(word) for word in printed[printed.index("[") + 1 : printed.index("]")].split()]
    assert found == pytest.approx(example["TRUE"], abs=0.05)
    assert not refusals(grid)
    assert not [message for message in grid.requests if names.ARRAYS_RECORD in unpacked(message.content)]
