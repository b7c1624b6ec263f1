"""Each default has one home; what the commands, pyproject.toml and signatures write out again is the same."""

import inspect
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from fl_app import PyTorchTabularClassifier, combine_pod_schemas, get_pod_schema
from fl_app.config import FederatedAveraging, RunConfig, SecureAggregator
from fl_app.errors import UsageError
from fl_app.flower.protocol_settings import MAX_WEIGHTS, Aggregation, Dropouts, Timing
from fl_app.tabular.settings import DataStructure
from server.commands.describe import describe
from server.commands.fit import TrainingOptions, demo, fit
from server.commands.fit import run_config as options_config
from server.commands.pods import pods as pods_command
from strategies import SecureAggregation

PODS = ("a", "b")
TARGET = DataStructure(target="TARGET")
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def run_config(**settings: Any) -> RunConfig:
    return RunConfig(pods=PODS, datastructure=TARGET, **settings)


@pytest.mark.parametrize("command", [fit, demo])
def test_a_commands_defaults_are_those_of_the_classes(command: click.Command) -> None:
    context = command.make_context(command.name, [])
    assert options_config(TrainingOptions.of(context), PODS, TARGET) == run_config()


def test_pyproject_has_the_same_defaults() -> None:
    given = tomllib.loads(PYPROJECT.read_text("utf-8"))["tool"]["flwr"]["app"]["config"]
    assert RunConfig.from_flower(given, PODS) == run_config()
    assert {"secure", "weighting", "threshold", "hello-timeout", "step-timeout"} <= given.keys()


@pytest.mark.parametrize(
    ("function", "parameter", "default"),
    [
        (PyTorchTabularClassifier.fit, "hello_timeout", Timing.hello),
        (PyTorchTabularClassifier.fit, "step_timeout", Timing.step),
        (get_pod_schema, "timeout", Timing.hello),
        (combine_pod_schemas, "timeout", Timing.hello),
        (SecureAggregation.__init__, "aggregation", Aggregation()),
        (SecureAggregation.__init__, "dropouts", Dropouts()),
        (SecureAggregation.__init__, "timing", Timing()),
    ],
)
def test_so_have_signatures(function: Any, parameter: str, default: Any) -> None:
    assert inspect.signature(function).parameters[parameter].default == default


@pytest.mark.parametrize(
    ("command", "name", "default"),
    [
        (pods_command, "timeout", Timing.hello),
        (describe, "timeout", Timing.hello),
        (describe, "step_timeout", Timing.step),
    ],
)
def test_so_have_commands_that_ask_pods(command: click.Command, name: str, default: float) -> None:
    (option,) = [option for option in command.params if option.name == name]
    assert option.get_default(click.Context(command)) == default


def test_a_runs_settings_give_the_groups_that_the_strategy_takes() -> None:
    config = run_config()
    assert (config.aggregation, config.dropouts, config.timing) == (Aggregation(), Dropouts(), Timing())
    changed = run_config(
        weighting="equal", update_bound=1.0, threshold=3, hello_timeout=1.0, rejoin_timeout=2.0, step_timeout=3.0
    )
    assert changed.aggregation == Aggregation(weighting="equal", update_bound=1.0)
    assert changed.dropouts == Dropouts(threshold=3)
    assert changed.timing == Timing(hello=1.0, rejoin=2.0, step=3.0)
    assert SecureAggregator().settings() == {"secure": True, **Aggregation().model_dump()}
    assert FederatedAveraging().settings() == {"secure": False, "weighting": Aggregation().weighting}


def test_a_runs_settings_are_written_flat_and_in_one_order() -> None:
    """The text is bound into the session and kept in config.json: runs of before are read and written as they were."""
    keys = (
        "pods datastructure columns architecture network min_bin_rows rounds local_epochs local_steps batch_size "
        "optimizer lr_decay seed strategy strategy_params positive loss class_weight decision early_stopping "
        "secure describes fold group_by importance privacy prime_q update_bound max_weight weighting threshold "
        "hello_timeout rejoin_timeout step_timeout"
    )
    assert list(run_config().model_dump()) == keys.split()
    assert RunConfig.from_json(run_config().to_json()) == run_config()


def test_where_pods_count_equally_no_weight_is_above_one() -> None:
    assert [Aggregation(max_weight=most).largest_weight for most in MAX_WEIGHTS] == [2**20, 2**24, 2**28]
    assert Aggregation(weighting="equal").largest_weight == 1


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"prime_q": 97}, "prime_q 97 is not supported: use 2"),
        ({"weighting": "rows"}, "should be 'examples' or 'equal', not 'rows'"),
        ({"update_bound": 0}, "update_bound: should be greater than 0"),
        ({"update_bound": float("inf")}, "update_bound: should be a finite number"),
        ({"max_weight": 0}, "max_weight 0 would tell.*use one of 1048576, 16777216, 268435456"),
        ({"max_weight": 2**20 - 1}, "max_weight 1048575 would tell how many rows"),
    ],
)
@pytest.mark.parametrize("kind", [Aggregation, SecureAggregator, run_config])
def test_settings_that_cannot_be_are_refused(kind: Any, wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        kind(**wrong)
