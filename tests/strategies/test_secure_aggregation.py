import os
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx, Strategy

from fl_app.errors import FlAppError, UsageError
from fl_app.identity.known_pods import keygen
from fl_app.secagg.binding import layout_for
from fl_app.secagg.messages import Step
from strategies import Count, Mean, Round, SecureAggregation, StepFailed, Sum
from tests.strategies.linear_pods import (
    EXAMPLES,
    NAMES,
    LinearPods,
    config,
    evaluate,
    flat,
    initial,
    strategy,
    table,
    train,
)
from tests.support.in_process import InProcessGrid, refusals

ROUNDS = 3
INNER: dict[str, Callable[[], Strategy]] = {
    "FedAvg": FedAvg,
    "FedAdam": lambda: FedAdam(eta=0.1, tau=0.01),
    "FedAvgM": lambda: FedAvgM(server_learning_rate=0.7, server_momentum=0.9),
    "FedProx": lambda: FedProx(proximal_mu=0.5),
}
# How much larger an error in the mean can come out of three rounds of each.
AMPLIFIED = {"FedAvg": 10.0, "FedAdam": 1e3, "FedAvgM": 100.0, "FedProx": 10.0}
inner_strategies = pytest.mark.parametrize("name", INNER)


@pytest.fixture
def pods(tmp_path: Path) -> LinearPods:
    return LinearPods(tmp_path, secure_only=False)


def run(secure: SecureAggregation, grid: InProcessGrid, arrays: ArrayRecord | None = None, rounds: int = ROUNDS) -> Any:
    return secure.start(grid, arrays or initial(), rounds, 5.0, config(), config())


def step_of(used: SecureAggregation, pods: int = 3) -> float:
    """Return the largest error that the codec may make in the mean of one round."""
    assert used.sessions is not None
    parameters = used.sessions.aggregator.parameters
    names = tuple(c.name for c in parameters.step("train").classes)
    layout = layout_for(parameters, Step(bytes(32), "train", 1, names, (1,) * len(names)), pods)
    total = pods if used.aggregation.weighting == "equal" else sum(EXAMPLES[name] for name in used.pods)
    return pods / 2 / layout.scales["update"] / total


# --- the same as the inner strategy on the plain mean


@inner_strategies
def test_the_secure_strategy_gives_what_flowers_own_gives_on_the_same_replies(name: str, pods: LinearPods) -> None:
    secure = strategy(INNER[name]())
    ours = run(secure, pods.grid(1))
    flowers = INNER[name]().start(pods.plain_grid(2), initial(), ROUNDS, 5.0, config(), config())
    tolerance = step_of(secure) * AMPLIFIED[name]
    assert tolerance < 1e-6
    np.testing.assert_allclose(flat(ours.arrays), flat(flowers.arrays), rtol=0, atol=tolerance)
    assert not np.allclose(flat(ours.arrays), flat(initial()), atol=0.1)  # something was learned
    for number in range(1, ROUNDS + 1):
        ours_metrics, flowers_metrics = (
            [dict(result.train_metrics_clientapp[number]), dict(result.evaluate_metrics_clientapp[number])]
            for result in (ours, flowers)
        )
        assert ours_metrics[0] == pytest.approx(flowers_metrics[0], abs=1e-6)
        # Flower averages what is a mean; sums and counts are declared as what they are here.
        assert ours_metrics[1]["loss"] == pytest.approx(flowers_metrics[1]["loss"], abs=1e-6)


@inner_strategies
def test_the_secure_strategy_gives_what_the_plain_mode_gives(name: str, pods: LinearPods) -> None:
    secure, plain = strategy(INNER[name]()), strategy(INNER[name](), secure=False)
    ours, theirs = run(secure, pods.grid(1)), run(plain, pods.grid(2))
    tolerance = step_of(secure) * AMPLIFIED[name]
    np.testing.assert_allclose(flat(ours.arrays), flat(theirs.arrays), rtol=0, atol=tolerance)
    assert ours.evaluate_metrics_clientapp.keys() == theirs.evaluate_metrics_clientapp.keys() == {0, 1, 2, 3}
    for number in range(ROUNDS + 1):
        one, other = ours.evaluate_metrics_clientapp[number], theirs.evaluate_metrics_clientapp[number]
        assert one["hits"] == other["hits"]
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert one["residuals"] == pytest.approx(other["residuals"], abs=1e-5)


def test_the_compact_field_is_coarser_but_within_its_step(pods: LinearPods) -> None:
    settings: dict[str, Any] = {
        "prime_q": 2**31 - 1, "train_metrics": [Mean("loss", bound=16.0)], "evaluate_metrics": [],
    }  # fmt: skip
    secure = strategy(FedAvg(fraction_evaluate=0), **settings)
    ours = run(secure, pods.grid(1), rounds=1)
    flowers = FedAvg(fraction_evaluate=0).start(pods.plain_grid(2), initial(), 1, 5.0, config())
    error = np.abs(flat(ours.arrays) - flat(flowers.arrays)).max()
    assert 0 < error <= step_of(secure)
    assert step_of(secure) > 1e-7


def test_arrays_keep_their_dtypes_shapes_and_names(pods: LinearPods) -> None:
    ours = run(strategy(FedAvg()), pods.grid(1), initial(np.float32))
    flowers = FedAvg().start(pods.plain_grid(2), initial(np.float32), ROUNDS, 5.0, config(), config())
    for name, array in flowers.arrays.items():
        found = ours.arrays[name].numpy()
        assert (found.dtype, found.shape) == (np.float32, array.numpy().shape)
        np.testing.assert_allclose(found, array.numpy(), atol=1e-6)


# --- weighting


def moves(names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Return what each pod's handler makes of the initial arrays."""
    found = {}
    for name in names:
        content = RecordDict({"arrays": initial(), "config": config()})
        request = Message(content, dst_node_id=1, message_type="train")
        request.metadata.__dict__["_message_id"] = "x"
        reply = train(request, Context(1, 1, {"pod": name}, RecordDict(), {}))
        found[name] = flat(reply.content.array_records["arrays"])
    return found


@pytest.mark.parametrize("weighting", ["examples", "equal"])
def test_the_mean_is_weighted_as_asked(weighting: str, pods: LinearPods) -> None:
    done: list[Round] = []
    secure = strategy(FedAvg(), weighting=weighting, on_round=done.append)
    ours = run(secure, pods.grid(1), rounds=1)
    weights = EXAMPLES if weighting == "examples" else dict.fromkeys(NAMES, 1)
    total = sum(weights[name] for name in NAMES)
    want = sum(weights[name] * new for name, new in moves().items()) / total
    np.testing.assert_allclose(flat(ours.arrays), want, rtol=0, atol=2 * step_of(secure))
    assert done[0].step.aggregate.weight == total
    assert done[0].evaluated["hits"] == sum(hits(name) for name in NAMES)


def hits(name: str) -> int:
    x, y = table(name)
    arrays = {key: array.numpy() for key, array in initial().items()}
    return int((np.abs(x @ arrays["w"] + arrays["b"] - y) < 1).all(axis=1).sum())


def test_the_total_of_examples_is_known_and_no_pods_own(pods: LinearPods) -> None:
    done: list[Round] = []
    run(strategy(FedAvg(), on_round=done.append), pods.grid(1))
    total = sum(EXAMPLES[name] for name in NAMES)
    assert [round.step.aggregate.weight for round in done] == [total] * ROUNDS
    shown = repr([vars(round) for round in done])
    assert str(total) in shown
    assert not any(f"weight={EXAMPLES[name]}," in shown for name in NAMES)


def test_a_pod_with_more_examples_than_declared_answers_nothing(pods: LinearPods) -> None:
    def large(message: Message, context: Context) -> Message:
        reply = train(message, context)
        if context.node_config["pod"] == "west":
            reply.content["metrics"] = MetricRecord({"num-examples": 1_234_567, "loss": 0.5})
        return reply

    pods.handlers["train"] = large
    failed: list[str] = []
    secure = strategy(FedAvg(), on_skip=lambda number, error: failed.append(str(error)))
    grid = pods.grid(1)
    with pytest.raises(FlAppError):
        run(secure, grid)
    assert "the weight is not within the declared 0 to 1048576" in failed[0]
    assert "1234567" not in "".join(failed + refusals(grid))


# --- messages


def test_a_round_is_one_message_to_each_pod_and_back(pods: LinearPods) -> None:
    grid = pods.grid(1)
    secure = strategy(FedAvg(), statistics=[Sum("x", bound=1e3, size=4), Count("rows")])
    secure.form_cohort(grid, ROUNDS)
    sums = secure.gather_statistics(RecordDict({"config": config()}), {"x": 4})
    run(secure, grid)
    types = Counter((m.metadata.message_type, m.metadata.dst_node_id) for m in grid.requests)
    assert types == Counter(
        {
            **{("query.hello", node): 1 for node in grid.nodes},
            **{("query.roster", node): 1 for node in grid.nodes},
            **{("query.masked", node): 1 for node in grid.nodes},
            **{("train.masked", node): ROUNDS for node in grid.nodes},
            **{("evaluate.masked", node): 1 for node in grid.nodes},
        }
    )
    assert len(grid.replies) == len(grid.requests) == len(NAMES) * (3 + ROUNDS + 1)
    assert secure.traffic()["train"].messages == len(NAMES) * ROUNDS
    assert not refusals(grid)
    # The statistics are the sums over all pods' rows.
    assert sums.values["statistics.rows"].tolist() == [sum(EXAMPLES[name] for name in NAMES)]
    want = sum(table(name)[0].sum(axis=0) for name in NAMES)
    np.testing.assert_allclose(sums.values["statistics.x"], want, rtol=1e-12)


def test_all_pods_are_told_the_same_but_for_their_shares(pods: LinearPods) -> None:
    grid = pods.grid(1)
    run(strategy(FedAvg()), grid)
    trains = [m.content for m in grid.requests if m.metadata.message_type == "train.masked"]
    assert [("shares" in content) for content in trains] == [True] * 3 + [False] * 6
    common = [{name: content[name] for name in content if name != "shares"} for content in trains[:3]]
    assert common[0] == common[1] == common[2]


# --- what an inner strategy may not do, and settings that cannot be


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"names": ["a"]}, "two or more different pods"),
        ({"names": ["a", "a"]}, "two or more different pods"),
        ({"weighting": "rows"}, "'examples' or 'equal', not 'rows'"),
        ({"inner": FedAvg(min_train_nodes=4)}, "min_train_nodes=4, and there are 3 pods"),
        ({"inner": FedAvg(min_evaluate_nodes=4)}, "min_evaluate_nodes=4"),
        ({"inner": FedAvg(min_available_nodes=9)}, "min_available_nodes=9"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        strategy(**{"inner": FedAvg(), "names": NAMES, **settings})


def test_another_prime_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="is not supported: use 2"):
        strategy(FedAvg(), prime_q=2**89 - 1)


def test_steps_need_a_cohort(pods: LinearPods) -> None:
    with pytest.raises(UsageError, match="form the cohort first"):
        strategy(FedAvg()).gather_statistics(RecordDict(), {})


def test_an_inner_strategy_that_samples_some_of_the_pods_is_refused(pods: LinearPods) -> None:
    with pytest.raises(UsageError, match="asks 2 of 3 pods to train"):
        run(strategy(FedAvg(fraction_train=0.5)), pods.grid(1))


def test_an_inner_strategy_that_says_different_things_to_different_pods_is_refused(pods: LinearPods) -> None:
    class Favourites(FedAvg):
        def configure_train(self, *args: Any) -> Any:
            messages = list(super().configure_train(*args))
            other = RecordDict({**messages[0].content, "config": ConfigRecord({"lr": 0.5})})
            node = messages[0].metadata.dst_node_id
            return [Message(other, dst_node_id=node, message_type="train"), *messages[1:]]

    with pytest.raises(UsageError, match="Favourites sends different requests to different pods"):
        run(strategy(Favourites()), pods.grid(1))


def test_an_inner_strategy_cannot_send_by_itself(pods: LinearPods) -> None:
    class Talkative(FedAvg):
        def configure_train(self, number: int, arrays: Any, config: Any, grid: Any) -> Any:
            messages = list(super().configure_train(number, arrays, config, grid))
            grid.push_messages(messages)
            return messages

    grid = pods.grid(1)
    with pytest.raises(NotImplementedError, match="the secure strategy does"):
        run(strategy(Talkative()), grid)
    assert not any(m.metadata.message_type.startswith("train") for m in grid.requests)


def test_statistics_are_sums_and_counts(pods: LinearPods) -> None:
    with pytest.raises(UsageError, match="declare 'x' as one of them"):
        strategy(FedAvg(), statistics=[Mean("x")]).form_cohort(pods.grid(1), 1)


# --- metrics and values at their limits


def test_bounds_may_be_written_as_integers(pods: LinearPods) -> None:
    secure = strategy(
        FedAvg(), update_bound=8, train_metrics=[Mean("loss", bound=500)],
        evaluate_metrics=[Mean("loss", bound=500), Sum("residuals", bound=10_000, size=3), Count("hits", bound=45)],
    )  # fmt: skip
    assert run(secure, pods.grid(1), rounds=1).arrays is not None


def no_rows(message: Message, context: Context) -> Message:
    metrics = MetricRecord({"num-examples": 0, "loss": 0.0, "hits": 0, "residuals": [0.0] * 3})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def test_an_evaluation_over_no_examples_at_all_is_nan_and_ends_no_run(pods: LinearPods) -> None:
    pods.handlers["evaluate"] = no_rows
    result = run(strategy(FedAvg()), pods.grid(1), rounds=1)
    assert np.isnan(result.evaluate_metrics_clientapp[0]["loss"])
    assert np.isnan(result.evaluate_metrics_clientapp[1]["loss"])
    assert result.evaluate_metrics_clientapp[1]["hits"] == 0


def test_updates_past_the_bound_are_clipped_and_counted(pods: LinearPods) -> None:
    def leap(message: Message, context: Context) -> Message:
        reply = train(message, context)
        if context.node_config["pod"] == "west":
            arrays = {name: array.numpy() + 100 for name, array in message.content["arrays"].items()}
            reply.content["arrays"] = ArrayRecord({name: Array(array) for name, array in arrays.items()})
        return reply

    done: list[Round] = []
    pods.handlers["train"] = leap
    secure = strategy(FedAvg(), weighting="equal", update_bound=8.0, on_round=done.append)
    ours = run(secure, pods.grid(1), rounds=1)
    assert done[0].step.aggregate.clipped == 15
    new = moves()
    want = (new["north"] + new["south"] + flat(initial()) + 8.0) / 3
    np.testing.assert_allclose(flat(ours.arrays), want, rtol=0, atol=2 * step_of(secure))


def test_every_pod_may_clip_the_same_element(pods: LinearPods) -> None:
    # At a bound that is no binary fraction the pods' rounded values add up to a little more than three bounds.
    def leap(message: Message, context: Context) -> Message:
        reply = train(message, context)
        arrays = {name: array.numpy() + 100 for name, array in message.content["arrays"].items()}
        reply.content["arrays"] = ArrayRecord({name: Array(array) for name, array in arrays.items()})
        return reply

    pods.handlers["train"] = leap
    for run_id, bound in enumerate((0.1, 0.3, 0.7, 1.1, 5 / 3), start=1):
        secure = strategy(FedAvg(), weighting="equal", update_bound=bound)
        ours = run(secure, pods.grid(run_id), rounds=1)
        np.testing.assert_allclose(flat(ours.arrays) - flat(initial()), bound, atol=2 * step_of(secure))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_a_metric_that_does_not_fit_spoils_the_round_and_is_not_told(value: float, pods: LinearPods) -> None:
    def strange(message: Message, context: Context) -> Message:
        reply = evaluate(message, context)
        if context.node_config["pod"] == "south":
            reply.content["metrics"]["residuals"] = [value, 0.0, 0.0]
        return reply

    failed: list[StepFailed] = []
    pods.handlers["evaluate"] = strange
    grid = pods.grid(1)
    with pytest.raises(FlAppError):
        run(strategy(FedAvg(), on_skip=lambda number, error: failed.append(error)), grid)
    assert "'evaluate.residuals'" in str(failed[0])
    assert str(value) not in str(failed[0])
    vectors = [m for m in grid.replies if "masked" in m.content]
    assert len(vectors) == 2  # the two others'


# --- the example of another Flower app

EXAMPLE = Path(__file__).parents[2] / "examples" / "linear_regression.py"


def test_the_example_is_short_and_converges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path))
    example = runpy.run_path(str(EXAMPLE))
    for name in example["PODS"]:
        keygen(name)
    grid = InProcessGrid(example["client"], {n: {"partition-id": str(n - 1)} for n in (1, 2)})
    example["server"](grid, Context(grid.run_id, 0, {}, RecordDict(), {}))
    printed = capsys.readouterr().out.strip().splitlines()[-1]
    found = [float(word) for word in printed[printed.index("[") + 1 : printed.index("]")].split()]
    assert found == pytest.approx(example["TRUE"], abs=0.05)
    assert {m.metadata.message_type for m in grid.requests} == {"query.hello", "query.roster", "train.masked"}
    assert not refusals(grid)
    assert os.environ["FL_APP_HOME"] == str(tmp_path)
