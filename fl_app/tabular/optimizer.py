"""The optimiser a modeller asks for, checked without loading torch."""

import math
from typing import Self

from pydantic import Field, model_validator

from fl_app.errors import UsageError
from fl_app.tabular.frozen import Frozen

_ADAM = ("lr", "betas", "eps", "weight_decay", "amsgrad")

# torch.optim's own names. A parameter that torch would reject on a pod is better rejected here, at once.
OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "SGD": ("lr", "momentum", "dampening", "weight_decay", "nesterov"),
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "NAdam": ("lr", "betas", "eps", "weight_decay", "momentum_decay", "decoupled_weight_decay"),
    "RAdam": ("lr", "betas", "eps", "weight_decay", "decoupled_weight_decay"),
    "Adamax": ("lr", "betas", "eps", "weight_decay"),
    "Adagrad": ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
    "Adadelta": ("lr", "rho", "eps", "weight_decay"),
    "RMSprop": ("lr", "alpha", "eps", "weight_decay", "momentum", "centered"),
}


class Optimizer(Frozen):
    """The optimiser with which each pod trains; it begins afresh in every round.

    Attributes
    ----------
    name : str
        Its name in torch.optim: SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adagrad, Adadelta or RMSprop.
    params : dict
        Its parameters by torch's names, finite and not negative, for example ``{"lr": 0.001}``; those left out are
        torch's defaults.

    Raises
    ------
    UsageError
        If there is no such optimiser or parameter, or a value cannot be one; it names what is allowed.
    """

    name: str
    params: dict[str, bool | int | float | tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in OPTIMIZERS:
            raise UsageError(f"unknown optimizer {self.name!r}; allowed are {', '.join(OPTIMIZERS)}")
        allowed = OPTIMIZERS[self.name]
        if unknown := sorted(set(self.params) - set(allowed)):
            raise UsageError(f"{self.name} has no parameter {unknown[0]!r}; allowed are {', '.join(allowed)}")
        for key, value in self.params.items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(number) and number >= 0 for number in numbers):
                raise UsageError(f"{self.name}: {key} must be a finite number, zero or more")
        return self
