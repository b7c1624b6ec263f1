"""The averaging that pods and server compute is Flower's: its own classes are the oracle."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flowers
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_app.errors import UsageError
from fl_app.replica.averaging import DEFAULTS, averaged, checked
from fl_app.replica.state import Arrays
from strategies.inner_strategy import CohortGrid

PARAMETERS: dict[str, dict[str, float]] = {
    "FedAvg": {},
    "FedProx": {"proximal_mu": 0.1},
    "FedAvgM": {"server_learning_rate": 0.7, "server_momentum": 0.9},
    "FedAdam": {"eta": 0.03, "beta_1": 0.8, "beta_2": 0.95, "tau": 0.01},
}


def model_of(rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    return {"w": rng.normal(size=(3, 4)).astype(np.float32), "b": rng.normal(size=5).astype(np.float32)}


def flat(model: Arrays) -> npt.NDArray[np.float64]:
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in model.values()])


@pytest.fixture(autouse=True)
def _task() -> None:
    """Flower makes no message outside a task."""
    TaskIdentity.task_id = TaskIdentity.node_id = TaskIdentity.run_id = 1


class Flowers:
    """One of Flower's strategies, handed the pods' mean model of each round as one reply."""

    def __init__(self, name: str, model: Arrays) -> None:
        nodes = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}
        self.strategy = getattr(flowers, name)(**nodes, **PARAMETERS[name])
        self.arrays = ArrayRecord({key: Array(array) for key, array in model.items()})

    def round(self, number: int, update: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        (request,) = self.strategy.configure_train(number, self.arrays, ConfigRecord(), CohortGrid(None, [1]))  # type: ignore[arg-type]
        mean, at = {}, 0
        for key, array in self.arrays.items():
            old = array.numpy()
            mean[key] = Array((old + update[at : at + old.size].reshape(old.shape)).astype(np.float32))
            at += old.size
        content = RecordDict({"arrays": ArrayRecord(mean), "metrics": MetricRecord({"num-examples": 7})})
        new, _ = self.strategy.aggregate_train(number, [Message(content, reply_to=request)])
        self.arrays = ArrayRecord({key: Array(array.numpy().astype(np.float32)) for key, array in new.items()})
        return flat({key: array.numpy() for key, array in self.arrays.items()})


@pytest.mark.parametrize("name", DEFAULTS)
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_five_rounds_are_those_of_flowers_own_strategy(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model: Arrays = model_of(rng)
    carried: Arrays = {}
    oracle = Flowers(name, model)
    for number in range(1, 6):
        update = rng.normal(scale=0.1, size=flat(model).size)
        model, carried = averaged(name, PARAMETERS[name], model, carried, update, number)
        assert all(array.dtype == np.float32 for array in model.values())
        np.testing.assert_allclose(flat(model), oracle.round(number, update), rtol=2e-5, atol=2e-6)


def test_the_parameters_are_flowers_with_flowers_defaults() -> None:
    for name, parameters in DEFAULTS.items():
        made = getattr(flowers, name)()
        assert {key: getattr(made, key) for key in parameters} == parameters


def test_an_unknown_strategy_or_parameter_is_told_with_what_is_allowed() -> None:
    with pytest.raises(UsageError, match="unknown strategy 'FedNova'; allowed are FedAvg"):
        checked("FedNova", {})
    with pytest.raises(UsageError, match="FedAdam does not take momentum; its parameters: eta, eta_l"):
        checked("FedAdam", {"momentum": 0.9})
    with pytest.raises(UsageError, match="FedAvg does not take eta; its parameters: none"):
        checked("FedAvg", {"eta": 1.0})


def test_what_came_in_is_left_as_it_was() -> None:
    rng = np.random.default_rng(0)
    model, update = model_of(rng), rng.normal(size=17)
    before, given_update = flat(model).tolist(), update.tolist()
    carried: Arrays = {}
    for _ in range(2):
        _, carried = averaged("FedAvgM", PARAMETERS["FedAvgM"], model, carried, update, 1)
        held = flat(carried).tolist()
        averaged("FedAvgM", PARAMETERS["FedAvgM"], model, carried, update, 2)
        assert (flat(model).tolist(), update.tolist(), flat(carried).tolist()) == (before, given_update, held)
