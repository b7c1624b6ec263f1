"""The settings that are tried: drawn the same from the same seed, and refused where they cannot be."""

import json
from pathlib import Path

import pytest

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.tabular.settings import DataStructure
from server.modeller.tuning.space import TuningSpace, read_space

SMALL = TuningSpace(
    architecture=("linear",),
    learning_rate={"SGD": (0.1, 0.3)},
    batch_size=(32,),
    local_epochs=(1, 2),
    weight_decay=(0.0,),
)


def test_the_same_seed_draws_the_same_trials_and_more_of_them_begin_alike() -> None:
    space = TuningSpace()
    drawn = space.draw(9, 4)
    assert drawn == space.draw(9, 4)
    assert drawn == space.draw(27, 4)[:9]
    assert drawn != space.draw(9, 5)
    assert len(set(map(repr, drawn))) == 9


def test_what_a_seed_draws_is_the_same_in_every_version() -> None:
    first = TuningSpace().draw(1, 0)[0]
    assert first.model_dump() == {
        "architecture": "linear",
        "optimizer": "SGD",
        "learning_rate": 0.03,
        "batch_size": 256,
        "local_epochs": 3,
        "weight_decay": 0.0,
    }


def test_every_combination_is_drawn_once() -> None:
    drawn = SMALL.draw(100, 0)
    assert len(drawn) == SMALL.combinations == 4
    assert {(trial.learning_rate, trial.local_epochs) for trial in drawn} == {(0.1, 1), (0.1, 2), (0.3, 1), (0.3, 2)}


def test_a_trial_leaves_nothing_to_defaults() -> None:
    base = RunConfig(pods=("a", "b"), datastructure=DataStructure(target="t"), local_steps=7, seed=3)
    trial = SMALL.draw(1, 0)[0]
    config = trial.config(base, rounds=6)
    assert (config.rounds, config.local_epochs, config.local_steps) == (6, trial.local_epochs, None)
    assert (config.architecture, config.batch_size, config.lr_decay) == ("linear", 32, 0.02)
    assert config.early_stopping is None
    assert config.optimizer is not None
    assert config.optimizer.params == {"lr": trial.learning_rate, "weight_decay": 0.0}
    assert (config.seed, config.datastructure.target) == (3, "t")


@pytest.mark.parametrize("name", ["space.yaml", "space.json"])
def test_a_file_gives_some_of_the_lists(name: str, tmp_path: Path) -> None:
    given = {"batch_size": [16, 64], "learning_rate": {"SGD": [0.1]}}
    text = json.dumps(given) if name.endswith("json") else "batch_size: [16, 64]\nlearning_rate: {SGD: [0.1]}\n"
    (tmp_path / name).write_text(text)
    space = read_space(tmp_path / name)
    assert (space.batch_size, space.learning_rate) == ((16, 64), {"SGD": (0.1,)})
    assert space.architecture == TuningSpace().architecture


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "a space is written as"),
        ("batch_sise: [32]\n", "batch_sise: unknown key, did you mean 'batch_size'"),
        ("local_epochs: [1]\nbatch_size: 32\n", "batch_size: should be a list"),
        ("batch_size: []\n", "batch_size: should have at least 1 items"),
        ("batch_size: [0]\n", "batch_size: expected numbers 1 or more, not 0"),
        ("batch_size: [8, 8]\n", "batch_size: a value is given twice"),
        ("architecture: [mpl]\n", "architecture: 'mpl': unknown architecture, did you mean 'mlp'"),
        ("architecture: [mlp, mlp]\n", "architecture: a value is given twice"),
        ("learning_rate: {sgd: [0.1]}\n", "learning_rate: 'sgd': unknown optimizer"),
        ("learning_rate: {SGD: []}\n", "learning_rate: SGD: expected one rate or more"),
        ("learning_rate: {SGD: [0]}\n", "learning_rate: SGD: expected numbers above 0, not 0"),
        ("weight_decay: [.nan]\n", "weight_decay: expected numbers 0 or more, not nan"),
        (f"batch_size: [{', '.join(map(str, range(1, 3001)))}]\n", "216,000 combinations"),
        ("a: [1\n", "line 2"),
    ],
)
def test_a_wrong_file_says_where_and_what_is_allowed(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_space(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)
