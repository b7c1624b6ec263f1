"""Settings that follow from the table: what is left open is filled in, and what is said stays."""

from typing import Any

import pytest

from fl_app.config import RunConfig, Settled
from fl_app.errors import UsageError
from fl_app.privacy.settings import Privacy
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.regime import LARGE, MOST_LOCAL_EPOCHS, MOST_ROUNDS, Regime, regime_for
from fl_app.tabular.settings import DataStructure, Optimizer

SIZES = (0, 150, 199, 200, 1999, 2000, 19_999, 20_000, 10**7)


def config(**settings: Any) -> RunConfig:
    return RunConfig(pods=("a", "b"), datastructure=DataStructure(target="t"), **settings)


@pytest.mark.parametrize("rows", SIZES)
def test_every_table_has_a_regime_that_the_pods_were_asked_to_agree_to(rows: int) -> None:
    regime = regime_for(rows)
    assert 1 <= regime.rounds <= MOST_ROUNDS == config().most_rounds
    assert 1 <= regime.local_epochs <= MOST_LOCAL_EPOCHS == config().most_local_epochs
    assert Regime.from_json(regime.to_json()) == regime


def test_small_tables_take_more_and_smaller_steps() -> None:
    def steps(rows: int) -> float:
        regime = regime_for(rows)
        return rows / regime.batch_size * regime.local_epochs * regime.rounds

    assert all(steps(rows) > 4 * rows / LARGE.batch_size * LARGE.rounds for rows in (150, 1000, 5000))
    assert regime_for(10**6) == LARGE


def test_more_classes_take_longer_steps_where_there_are_few_rows() -> None:
    rates = {
        (rows, classes): regime_for(rows, classes).optimizer.params["lr"] for rows in SIZES for classes in (1, 2, 3)
    }
    longer = {(rows, 3) for rows in SIZES if rows < 2000}
    assert {place for place, rate in rates.items() if rate == 0.3} == longer
    assert all(rates[rows, 1] == rates[rows, 2] for rows in SIZES)


def test_few_rows_of_classes_are_learnt_by_a_pair() -> None:
    networks = {(rows, classes): regime_for(rows, classes).architecture for rows in SIZES for classes in (1, 2, 3)}
    assert {place for place, network in networks.items() if network == "pair"} == {
        (rows, classes) for rows in SIZES if rows < 2000 for classes in (2, 3)
    }
    assert set(networks.values()) == {"pair", "mlp"}


def test_few_validation_rows_end_no_training() -> None:
    assert {rows for rows in SIZES if regime_for(rows).early_stopping} == {2000, 19_999}


@pytest.mark.parametrize("rows", SIZES)
def test_what_the_modeller_says_stays(rows: int) -> None:
    said: dict[str, Any] = {
        "architecture": "tutorial",
        "rounds": 77,
        "local_epochs": 9,
        "batch_size": 31,
        "optimizer": Optimizer(name="Adam", params={"lr": 0.5}),
        "lr_decay": 0.7,
        "early_stopping": EarlyStopping(metric="auc", patience=9),
    }
    everything = Settled.of(config(**said), regime_for(rows))
    assert {name: getattr(everything, name) for name in said} == said
    for name, value in said.items():
        one = Settled.of(config(**{name: value}), regime_for(rows))
        others = {other: getattr(regime_for(rows), other) for other in said if other != name}
        if name in ("rounds", "local_epochs") and regime_for(rows) == LARGE:
            assert one.optimizer.params["lr"] == pytest.approx(0.003 / (7.7 if name == "rounds" else 9))
            del others["optimizer"]
        assert {other: getattr(one, other) for other in others} == others
        assert getattr(one, name) == value


def test_more_epochs_than_usual_take_shorter_steps_of_adam() -> None:
    def rate(**said: Any) -> float:
        return float(str(Settled.of(config(**said), LARGE).optimizer.params["lr"]))

    assert rate() == rate(rounds=3) == rate(rounds=5, local_epochs=2) == rate(rounds=500, local_steps=1) == 0.003
    assert rate(rounds=30) == rate(rounds=10, local_epochs=3) == pytest.approx(0.001)
    assert rate(rounds=30, optimizer=Optimizer(name="AdamW", params={"lr": 0.003})) == 0.003
    assert Settled.of(config(rounds=100), regime_for(5000)).optimizer == regime_for(5000).optimizer


@pytest.mark.parametrize("rows", SIZES)
def test_an_option_of_the_optimizer_replaces_that_of_the_tables_own(rows: int) -> None:
    usual = regime_for(rows).optimizer
    changed = {
        "lr": Optimizer(params={"lr": 0.07}),
        "weight_decay": Optimizer(params={"weight_decay": 0.2}),
        "clip_norm": Optimizer(clip_norm=3.0),
    }
    for option, given in changed.items():
        run = Settled.of(config(optimizer=given), regime_for(rows))
        assert run.optimizer.name == usual.name
        assert run.optimizer.params == {**usual.params, **given.params}
        assert run.optimizer.clip_norm == (3.0 if option == "clip_norm" else usual.clip_norm)
        assert Settled.from_json(run.to_json()) == run == Settled.of(run, LARGE)
    decayed = Settled.of(config(rounds=30, optimizer=changed["weight_decay"]), LARGE).optimizer
    assert decayed.params == {"lr": pytest.approx(0.001), "weight_decay": 0.2}  # the rate of 30 rounds, as without it
    assert Settled.of(config(local_steps=3, optimizer=changed["lr"]), LARGE).optimizer.params == {"lr": 0.07}
    given = {"target": "t", "optimizer-params": '{"lr": 0.07}'}
    assert RunConfig.from_flower(given, ["a", "b"]).optimizer == changed["lr"]
    with pytest.raises(UsageError, match=r"without a name has no parameter 'momentum'; allowed are lr, weight_decay"):
        Optimizer(params={"momentum": 0.9})


def test_batches_that_are_counted_leave_no_room_for_epochs() -> None:
    run = Settled.of(config(local_steps=5), LARGE)
    assert (run.local_steps, run.local_epochs) == (5, None)
    assert config(local_steps=5).most_local_epochs is None


def test_training_to_the_last_round_can_be_asked_for() -> None:
    stopping = Regime(early_stopping=EarlyStopping(metric="loss"))
    assert Settled.of(config(early_stopping=None), stopping).early_stopping is None
    assert Settled.of(config(), stopping).early_stopping == EarlyStopping(metric="loss")


def test_a_private_run_follows_from_epsilon_and_from_no_table() -> None:
    for rows in SIZES:
        run = Settled.of(config(privacy=Privacy(epsilon=3)), regime_for(rows))
        assert (run.architecture, run.rounds, run.early_stopping) == ("linear", 120, None)
        assert run.plan == config(privacy=Privacy(epsilon=3)).plan


def test_settings_that_are_settled_are_read_back_and_settle_no_further() -> None:
    run = Settled.of(config(), regime_for(200))
    assert Settled.from_json(run.to_json()) == run
    assert Settled.of(run, LARGE) == run
