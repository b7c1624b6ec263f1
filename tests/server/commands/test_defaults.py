"""A run that is left to its defaults is the same run from the command line, from Python and from ``flwr run``."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from fl_app import PyTorchTabularClassifier
from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.federation.kinds import SimulatedFederation
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.settings import DataStructure, Optimizer
from tests.support.small_federation import PODS

SCHEMA = Schema(
    name="both",
    columns=(
        Column(name="age", kind="continuous", low=0, high=128),
        Column(name="outcome", kind="categorical", values=("no", "yes")),
    ),
)


class Captured(Exception):
    """Carries the settings of a run that is not carried out."""


def capture(config: RunConfig, *_: Any, **__: Any) -> None:
    raise Captured(config)


@pytest.fixture
def of_python(small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setattr("server.modeller.classifier.carry_out_fit", capture)
    model = PyTorchTabularClassifier(
        DataStructure(target="outcome"), SCHEMA, epochs=RunConfig.model_fields["rounds"].default
    )
    with pytest.raises(Captured) as caught:
        model.fit()
    return caught.value.args[0]


def different(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    return {
        name: (getattr(one, name), getattr(other, name))
        for name in RunConfig.model_fields
        if getattr(one, name) != getattr(other, name)
    }


def test_the_command_and_python(of_python: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.commands.fit.carry_out_fit", capture)
    with pytest.raises(Captured) as caught:
        main(["fit", "--target", "outcome"])
    assert different(of_python, caught.value.args[0]) == {}


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        (("--lr", "0.05"), Optimizer(params={"lr": 0.05})),
        (("--weight-decay", "0.1", "--clip-norm", "2"), Optimizer(params={"weight_decay": 0.1}, clip_norm=2.0)),
        (("--optimizer", "SGD"), Optimizer(name="SGD", params={"lr": 0.1})),
        (("--optimizer", "NAdam"), Optimizer(name="NAdam", params={"lr": 0.003})),
        (("--optimizer", "SGD", "--lr", "0.5"), Optimizer(name="SGD", params={"lr": 0.5})),
    ],
)
def test_options_of_the_optimizer_without_its_name_are_of_the_tables_own(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], meant: Optimizer
) -> None:
    monkeypatch.setattr("server.commands.fit.carry_out_fit", capture)
    with pytest.raises(Captured) as caught:
        main(["fit", "--target", "outcome", *options])
    assert caught.value.args[0].optimizer == meant


def test_flwr_run_and_python(of_python: RunConfig) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    given = project["tool"]["flwr"]["app"]["config"] | {"target": "outcome"}
    assert different(of_python, RunConfig.from_flower(given, PODS)) == {}


def test_a_run_config_of_its_own_and_python(of_python: RunConfig) -> None:
    own = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"))
    assert different(of_python, own) == {}


def test_every_setting_of_the_command_can_be_given_in_python(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.modeller.classifier.carry_out_fit", capture)
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), SCHEMA, epochs=3, min_bin_rows=9)
    with pytest.raises(Captured) as caught:
        model.fit(lr_decay=0.5)
    assert (caught.value.args[0].min_bin_rows, caught.value.args[0].lr_decay) == (9, 0.5)
