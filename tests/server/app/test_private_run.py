"""Private runs as a whole: the real apps in one process, what they sum, and what follows from it."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from safetensors.numpy import load_file

from client.app.replica_store import ReplicaStore
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.flower import names
from fl_app.privacy.cost import UNIT
from fl_app.privacy.plan import Noise
from fl_app.privacy.settings import Privacy
from fl_app.secagg.field import FIELD_31
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure
from scripts.results_schema import SCHEMA
from server.app.run_directory import RunDirectory
from server.display.report import write_report
from server.display.scored_rows import scored_rows
from server.modeller.launch import FitFailed, fit
from server.modeller.resume import resume
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import PODS, InProcess, in_this_process


def settings(rounds: int = 4, epsilon: float = 8.0, **others: Any) -> RunConfig:
    return RunConfig(**{
        "pods": PODS,
        "datastructure": DataStructure(target="outcome"),
        "privacy": Privacy(epsilon=epsilon),
        "architecture": "linear",
        "rounds": rounds,
        "local_epochs": 1,
        "rejoin_timeout": 2.0,
        **others,
    })  # fmt: skip


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods that add no noise, so that what they sum can be compared."""
    drop = "fl_app.privacy.shares.discrete_gaussian"
    monkeypatch.setattr(drop, lambda variance, size, randomness: np.zeros(size, np.int64))


def model_of(run: RunDirectory) -> NDArray[np.float32]:
    model = load_file(run.model_path())
    return np.concatenate([model[name].ravel() for name in sorted(model)])


@pytest.mark.usefixtures("here")
def test_a_private_run_trains_evaluates_once_and_tells_no_round_of_the_pods_rows(small: SimulatedFederation) -> None:
    run = fit(settings(rounds=30), small)
    results = run.results()
    assert [entry.round for entry in results.rounds] == list(range(1, 31))
    assert all(entry.train_loss is None and entry.clipped == 0 for entry in results.rounds)
    assert [entry.evaluated for entry in results.rounds] == [False] * 29 + [True]
    assert {entry.weight for entry in results.rounds} == {len(PODS)}  # pods, and not their rows
    assert results.final is not None
    assert results.test is not None
    assert results.test.auc is not None
    assert results.test.auc > 0.75
    assert abs((results.final.num_examples or 0) - 120) < 40  # noise hides how many there are
    steps = results.secure_aggregation.steps if results.secure_aggregation else {}
    assert len(steps["evaluate"].seconds) == 1


@pytest.mark.usefixtures("here")
def test_its_results_say_what_was_promised_and_how_much_noise_is_in_them(small: SimulatedFederation) -> None:
    from jsonschema import Draft202012Validator  # slow to import

    config = settings(rounds=5)
    run = fit(config, small)
    results, plan = run.results(), config.plan
    validator = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    validator.validate(json.loads((run.path / "results.json").read_text("utf-8")))
    assert plan is not None
    told = results.privacy
    assert told is not None
    assert (told.epsilon, told.delta, told.honest_pods, told.colluding_pods) == (8.0, 1e-5, 1, 1)
    assert told.rho == plan.cost.total / UNIT
    # Both pods relied on themselves alone, and so each has added all of the noise.
    for kind, what, noise in (
        ("statistics", "rows by value", plan.statistics(2)),
        ("train", "gradient", plan.gradient),
        ("evaluate", "loss", plan.loss),
    ):
        assert told.steps[kind].noise[what] == pytest.approx(noise.deviation * np.sqrt(len(PODS)), rel=1e-3)
    last = results.rounds[-1]
    assert results.final is not None
    for metrics in (last, results.final):
        assert {"accuracy", "auc", "loss"} <= metrics.deviations.keys()
    assert not any(entry.deviations for entry in results.rounds[:-1])
    assert results.test is not None
    assert results.test.deviations == {}
    assert min(count for row in results.confusion for count in row) >= 0
    assert TrainedModel.load(run.model_path()).extra["privacy"] == told.document()


@pytest.mark.usefixtures("here", "silent")
def test_where_noise_hides_all_rows_it_says_so_and_shows_the_public_test_file(small: SimulatedFederation) -> None:
    run = fit(settings(rounds=2, epsilon=0.1), small)
    results = run.results()
    assert results.status == "completed"
    assert "noise hides all of the rows" in results.no_figures
    assert results.test_confusion
    assert scored_rows(results).label == "rows of the public test file"
    write_report(run)


@pytest.mark.usefixtures("here")
def test_a_run_without_privacy_says_that_it_promises_nothing_of_a_row(small: SimulatedFederation) -> None:
    results = fit(settings(rounds=1, privacy=None, architecture="mlp"), small).results()
    assert results.privacy is not None
    assert results.privacy.epsilon is None
    assert "about a row nothing is promised" in results.privacy.guarantee
    assert results.final is not None
    assert results.final.deviations == {}
    assert not results.private


@pytest.mark.usefixtures("here")
def test_a_private_run_cannot_be_resumed_with_more_rounds(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = InProcessGrid.push_messages, list[str]()

    def die_in_the_third_round(grid: InProcessGrid, messages: Any) -> Any:
        messages = list(messages)
        sent.extend(m.metadata.message_type for m in messages if m.metadata.message_type == names.MASKED_TRAIN)
        if len(sent) > 2 * len(PODS):
            raise RuntimeError("the connection broke")
        return send(grid, messages)

    monkeypatch.setattr(InProcessGrid, "push_messages", die_in_the_third_round)
    with pytest.raises(FitFailed) as failed:
        fit(settings(rounds=4), small)
    monkeypatch.setattr(InProcessGrid, "push_messages", send)
    with pytest.raises(UsageError, match="its 4 rounds share what it may cost"):
        resume(failed.value.run, rounds=6)
    results = resume(failed.value.run, rounds=4).results()
    assert (results.status, len(results.rounds)) == ("completed", 4)
    assert results.privacy is not None
    assert results.privacy.steps["statistics"].noise  # of before
    assert results.privacy.steps["evaluate"].noise


def test_flowers_run_config_may_ask_for_privacy() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    given = project["tool"]["flwr"]["app"]["config"] | {"target": "outcome"}
    assert RunConfig.from_flower(given, PODS).privacy is None
    asked = RunConfig.from_flower(given | {"privacy": "epsilon=3,delta=1e-6", "rounds": 40}, PODS)
    assert (asked.privacy, asked.rounds) == (Privacy(epsilon=3, delta=1e-6), 40)
    with pytest.raises(UsageError, match="privacy"):
        RunConfig.from_flower(given | {"privacy": "3"}, PODS)


@pytest.mark.usefixtures("here", "silent")
def test_without_noise_a_run_counts_exactly_and_can_be_repeated_to_the_bit(small: SimulatedFederation) -> None:
    once, again = (fit(settings(rounds=6), small) for _ in range(2))
    assert model_of(once).tobytes() == model_of(again).tobytes()
    results = once.results()
    assert results.final is not None
    assert results.label_counts is not None
    assert sum(results.label_counts.classes) == 2 * 480  # the training rows of both
    assert results.final.num_examples == 2 * 60


@pytest.mark.usefixtures("here")
def test_noise_is_fresh_in_each_run(small: SimulatedFederation) -> None:
    once, again = (fit(settings(), small) for _ in range(2))
    assert model_of(once).tobytes() != model_of(again).tobytes()
    # Of the counts by value, which are some hundred: the two by class alone are alike once in 300 times.
    scales = [TrainedModel.load(run.model_path()).encoding.normalisation for run in (once, again)]
    assert scales[0] != scales[1]
    assert once.results().final != again.results().final


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("architecture", ["mlp", "periodic"])
def test_other_networks_train_with_privacy_too(architecture: str, small: SimulatedFederation) -> None:
    run = fit(settings(rounds=2, architecture=architecture), small)
    assert np.isfinite(model_of(run)).all()


@pytest.mark.usefixtures("here")
def test_every_pod_has_followed_the_same_run(small: SimulatedFederation, tmp_path: Any) -> None:
    run = fit(settings(), small)
    stores = [ReplicaStore(tmp_path / "home" / "pods" / pod / "replicas", run.path.name) for pod in PODS]
    replicas = [store.load()[0] for store in stores]
    assert replicas[0].digest == replicas[1].digest
    assert replicas[0].completed >= 3
    assert replicas[0].facts["rows"] == pytest.approx(960, abs=60)


@pytest.mark.usefixtures("here")
def test_each_pod_draws_its_share_for_the_fewest_that_any_owner_relies_on(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Noise, int]] = []

    def share(grains: NDArray[np.int64], noise: Noise, honest: int, randomness: object) -> NDArray[np.float64]:
        drawn.append((noise, honest))
        return grains / noise.grains

    monkeypatch.setattr("client.app.private_answers.noised", share)
    config = settings(rounds=3)
    fit(config, small)
    assert {honest for _, honest in drawn} == {1}  # of two pods the other one may be curious
    plan = config.plan
    assert plan is not None
    per_pod = [plan.statistics(2)] * 2 + [plan.gradient] * 3
    parts = [plan.confusion, plan.histograms(1), plan.loss, plan.brier(2.0)]
    assert len(drawn) == 2 * len(per_pod + 2 * parts)
    assert {noise for noise, _ in drawn} == {*per_pod, *parts}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"secure": False}, "needs secure aggregation"),
        ({"prime_q": FIELD_31.prime}, "field 2\\^61-1"),
        ({"early_stopping": EarlyStopping()}, "no round is evaluated"),
    ],
)
def test_settings_that_contradict_privacy_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        settings(**wrong)


def test_a_private_run_is_what_its_settings_say_wherever_they_are_read() -> None:
    config = settings()
    assert RunConfig.from_json(config.to_json()) == config
    assert config.aggregation.weighting == "equal"
    assert config.plan is not None
    assert settings(privacy=None).plan is None


@pytest.mark.usefixtures("here")
def test_a_private_run_that_ended_early_is_resumed_where_it_was(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.modeller.resume import resume

    class Ending(InProcess):
        def __init__(self) -> None:
            self.seen = 0

        def on_request(self, message: Any) -> Any:
            self.seen += message.metadata.message_type == names.MASKED_TRAIN
            if self.seen > 2 * 3:
                raise KeyboardInterrupt
            return message

    monkeypatch.setattr("server.modeller.launch.launcher_for", lambda federation: Ending())
    with pytest.raises((FitFailed, KeyboardInterrupt)):
        fit(settings(rounds=5), small)
    monkeypatch.setattr("server.modeller.launch.launcher_for", lambda federation: InProcess())
    run = RunDirectory.find("latest", RunDirectory.find("latest").path.parent)
    assert 0 < len(run.results().rounds) < 5
    resumed = resume(run)
    assert len(resumed.results().rounds) == 5
    assert_allclose(np.isfinite(model_of(resumed)), True)
