"""The averaging strategies, as each party of a run computes them from the mean of the pods' updates.

They are those of Flower, whose classes are what the tests compare with. They stand here because every pod and the
server must make the same model to the last bit, on any processor: each operation below is one that IEEE 754 rounds
exactly. Powers of the decays are products of their own, since `numpy.power` is not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_app.errors import UsageError
from fl_app.replica.state import Arrays

Averaged = tuple[Arrays, Arrays]
DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "FedAvg": {},
    "FedProx": {"proximal_mu": 0.0},
    "FedAvgM": {"server_learning_rate": 1.0, "server_momentum": 0.0},
    "FedAdam": {"eta": 1e-1, "eta_l": 1e-1, "beta_1": 0.9, "beta_2": 0.99, "tau": 1e-3},
}
"""The strategies' own parameters, by Flower's names for both."""


def checked(strategy: str, given: Mapping[str, float]) -> dict[str, float]:
    """Return all parameters of a strategy; raises `UsageError` for a strategy or a parameter that there is not."""
    if strategy not in DEFAULTS:
        raise UsageError(f"unknown strategy {strategy!r}; allowed are {', '.join(DEFAULTS)}")
    if unknown := sorted(set(given) - set(DEFAULTS[strategy])):
        allowed = ", ".join(DEFAULTS[strategy]) or "none"
        raise UsageError(f"strategy_params: {strategy} does not take {', '.join(unknown)}; its parameters: {allowed}")
    return {**DEFAULTS[strategy], **given}


def averaged(
    strategy: str,
    given: Mapping[str, float],
    model: Arrays,
    carried: Arrays,
    update: npt.NDArray[np.float64],
    number: int,
) -> Averaged:
    """Return the model after a round, and what is carried to the next.

    Parameters
    ----------
    strategy, given : str, mapping
        The strategy and its parameters, as a run's settings name them.
    model, carried : mappings of name to array
        The model that the pods trained, and what the round before returned.
    update : float64 [d]
        The pods' mean update, for the model's arrays one after the other.
    number : int
        The round's number, which FedAdam's correction of its first steps depends on.
    """
    parameters = checked(strategy, given)
    if strategy == "FedAvgM":
        return _fedavgm(parameters, model, carried, update)
    if strategy == "FedAdam":
        return _fedadam(parameters, model, carried, update, number)
    return {name: _added(array, part) for name, array, part in _parts(model, update)}, {}


def _parts(model: Arrays, update: npt.NDArray[np.float64]) -> list[tuple[str, npt.NDArray[Any], npt.NDArray[Any]]]:
    parts, at = [], 0
    for name, array in model.items():
        parts.append((name, array, update[at : at + array.size].reshape(array.shape)))
        at += array.size
    return parts


def _added(array: npt.NDArray[Any], step: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Return an array moved by a step, in its own dtype, added in float64."""
    moved: npt.NDArray[Any] = np.add(array, step, dtype=np.float64).astype(array.dtype)
    return moved


def _fedavgm(
    parameters: Mapping[str, float], model: Arrays, carried: Arrays, update: npt.NDArray[np.float64]
) -> Averaged:
    """Hsu et al. 2019: the server's momentum over the pods' mean updates."""
    momentum, rate = parameters["server_momentum"], parameters["server_learning_rate"]
    new, kept = {}, {}
    for name, array, step in _parts(model, update):
        if momentum > 0:
            step = momentum * carried[name] + step if name in carried else step.copy()
            kept[name] = step
        new[name] = _added(array, rate * step)
    return new, kept


def _fedadam(
    parameters: Mapping[str, float], model: Arrays, carried: Arrays, update: npt.NDArray[np.float64], number: int
) -> Averaged:
    """Reddi et al. 2021: Adam over the pods' mean updates, its rate corrected as Flower corrects it."""
    beta_1, beta_2, tau = parameters["beta_1"], parameters["beta_2"], parameters["tau"]
    decayed_1, decayed_2 = 1.0, 1.0
    for _ in range(number + 1):
        decayed_1, decayed_2 = decayed_1 * beta_1, decayed_2 * beta_2
    rate = parameters["eta"] * float(np.sqrt(1 - decayed_2)) / (1 - decayed_1)
    new, kept = {}, {}
    for name, array, step in _parts(model, update):
        first, second = carried.get(f"m.{name}", 0.0), carried.get(f"v.{name}", 0.0)
        kept[f"m.{name}"] = m = beta_1 * first + (1 - beta_1) * step
        kept[f"v.{name}"] = v = beta_2 * second + (1 - beta_2) * np.square(step)
        new[name] = _added(array, rate * m / (np.sqrt(v) + tau))
    return new, kept
