import inspect

import pytest
import torch

from fl_app.errors import UsageError
from fl_app.tabular.settings import OPTIMIZERS, Optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_name_and_parameter_is_known_to_torch(name: str) -> None:
    assert set(OPTIMIZERS[name]) <= set(inspect.signature(getattr(torch.optim, name)).parameters)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Adma"}, "unknown optimizer 'Adma'; allowed are SGD, Adam"),
        ({"name": "LBFGS"}, "unknown optimizer 'LBFGS'"),
        ({"name": "SGD", "params": {"learning_rate": 0.1}}, "SGD has no parameter 'learning_rate'; allowed are lr"),
        ({"name": "SGD", "params": {"lr": -0.1}}, "lr must be a finite number"),
        ({"name": "SGD", "params": {"lr": float("nan")}}, "lr must be a finite number"),
        ({"name": "SGD", "params": {"lr": "fast"}}, "Optimizer: params"),
        ({"name": "SGD", "lr": 0.1}, "Optimizer: lr"),
    ],
)
def test_a_wrong_optimizer_is_refused_before_any_run(fields: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Optimizer(**fields)  # type: ignore[arg-type]


def test_json_round_trip_keeps_types() -> None:
    optimizer = Optimizer(name="Adam", params={"lr": 1, "betas": (0.8, 0.9), "amsgrad": True, "eps": 1e-8})
    back = Optimizer.from_json(optimizer.to_json())
    assert back == optimizer
    assert back.params["amsgrad"] is True
