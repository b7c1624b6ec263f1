"""What the modeller chooses: the network by its name, the columns to learn from, and the optimiser."""

import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fl_app.errors import DataError, UsageError
from fl_app.tabular.schema import Schema
from fl_app.validation import Frozen

ARCHITECTURES = ("mlp", "periodic", "tabm", "tutorial", "linear", "additive", "pair")
"""Names of the networks of `fl_app.tabular.network`; here, where commands and pods read them without loading torch."""
PAIR_ARCHITECTURE, PAIR = "pair", ("mlp", "additive")
"""A network of two parts, which are networks of these names."""
AUTO_ARCHITECTURE = "auto"
"""Of a run that compares the parts of a pair, and goes on with the best: see `fl_app.replica.comparison`."""
DEFAULT_ARCHITECTURE = "mlp"
OWN_ARCHITECTURE = "own"
"""Of a network of the modeller's own, which a run takes along: see `fl_app.tabular.network_source`."""
PRIVATE_ARCHITECTURE = "linear"
"""Of runs with privacy, unless the modeller says otherwise."""

Names = Annotated[Sequence[str], AfterValidator(tuple)]
"""Written as a list or a tuple, kept as a tuple."""


class DataStructure(Frozen):
    """The target, and which of the other columns are features.

    Attributes
    ----------
    target : str
        Name of the column to predict: classes where it is categorical or holds few whole numbers, else a number.
    table : str, dict of str to str, or None
        The table of each pod, by the pod's name. A pod has one table, which bears the pod's name, so this may be left
        out; if it is a dict it is checked.
    selected_cols : sequence of str or None
        Names of the features; None: all columns but the target and ``ignore_cols``.
    ignore_cols : sequence of str
        Names of columns that are no features.

    Raises
    ------
    UsageError
        If the target is ignored, or a column is both selected and ignored.
    """

    target: str
    table: str | dict[str, str] | None = None
    selected_cols: Names | None = None
    ignore_cols: Names = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.target in self.ignore_cols:
            raise UsageError(f"DataStructure: the target {self.target!r} cannot be in ignore_cols")
        if both := set(self.selected_cols or ()) & set(self.ignore_cols):
            raise UsageError(f"DataStructure: both selected and ignored: {', '.join(sorted(both))}")
        return self

    def features(self, schema: Schema) -> tuple[str, ...]:
        """Name the feature columns in the schema's order; a column that no pod has a value in is none.

        Raises
        ------
        DataError
            The schema lacks the target or a selected column, the target is optional, has no value or fewer than two
            published classes, or no feature is left.
        """
        target = schema.column(self.target)
        if target.optional:
            raise DataError(
                f"the target {self.target!r} is declared optional, and every pod needs it: "
                "the pods' owners must take it out of optional"
            )
        if target.empty:
            raise DataError(f"the target {self.target!r} has no value at any pod")
        if not target.numeric and len(target.values) < 2:
            raise DataError(f"the target {self.target!r} has fewer than two published values")
        for name in self.selected_cols or ():
            schema.column(name)
        wanted = schema.names if self.selected_cols is None else self.selected_cols
        left_out = {self.target, *self.ignore_cols, *(column.name for column in schema.columns if column.empty)}
        features = tuple(name for name in schema.names if name in wanted and name not in left_out)
        if not features:
            raise DataError("no feature column is left: check selected_cols and ignore_cols")
        return features


_ADAM = ("lr", "betas", "eps", "weight_decay", "amsgrad")

# torch.optim's own names: a wrong parameter is refused at the modeller's, at once, and not at every pod.
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

_OF_ALL = ("lr", "weight_decay")


class Optimizer(Frozen):
    """The optimiser with which each pod trains; it begins afresh in every round.

    Attributes
    ----------
    name : str or None
        Its name in torch.optim: SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adagrad, Adadelta or RMSprop. None: the one
        that follows from the table, of which what is given here replaces a part.
    params : dict
        Its parameters by torch's names, finite and not negative, for example ``{"lr": 0.001}``; those left out are
        torch's defaults. Without a name only those that every optimiser has: lr and weight_decay.
    clip_norm : float or None
        The largest norm of a batch's gradient, and longer ones are shortened to it; None: they stay, or without a name
        whatever follows from the table. Where they stay, one row that lies far out, squared by its own gradient, can
        throw plain descent off.

    Raises
    ------
    UsageError
        If there is no such optimiser or parameter, or a value cannot be one; it names what is allowed.
    """

    name: str | None = None
    params: dict[str, bool | int | float | tuple[float, float]] = Field(default_factory=dict)
    clip_norm: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in (None, *OPTIMIZERS):
            raise UsageError(f"unknown optimizer {self.name!r}; allowed are {', '.join(OPTIMIZERS)}")
        allowed, named = (OPTIMIZERS[self.name], self.name) if self.name else (_OF_ALL, "an optimizer without a name")
        if unknown := sorted(set(self.params) - set(allowed)):
            raise UsageError(f"{named} has no parameter {unknown[0]!r}; allowed are {', '.join(allowed)}")
        for key, value in self.params.items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(number) and number >= 0 for number in numbers):
                raise UsageError(f"{named}: {key} must be a finite number, zero or more")
        return self

    def over(self, usual: Self) -> Self:
        """Return the optimiser for a table whose ``usual`` one has a name: itself, if it has one too."""
        if self.name:
            return self
        clip_norm = usual.clip_norm if self.clip_norm is None else self.clip_norm
        return usual.model_copy(update={"params": {**usual.params, **self.params}, "clip_norm": clip_norm})
