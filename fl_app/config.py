"""The settings of one run: frozen, validated, the same text for modeller, ServerApp and pods."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fl_app.errors import UsageError
from fl_app.pod.definition import PodName
from fl_app.secagg.errors import UnsupportedField
from fl_app.secagg.field import field_of
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.encoding import MIN_BIN_ROWS
from fl_app.tabular.settings import ARCHITECTURES, DEFAULT_ARCHITECTURE, DataStructure, Optimizer
from fl_app.validation import Frozen

_DEFAULT_OPTIMIZER = Optimizer(name="AdamW", params={"lr": 0.001})


class RunConfig(Frozen):
    """What a run does. It is bound into the session: a pod that is told other settings makes no usable answer.

    Attributes
    ----------
    pods : names of the pods that train together.
    datastructure : the target and the columns used.
    architecture : the network, by its name in `fl_app.tabular.settings`.
    min_bin_rows : rows of all pods together in each bin of a number; bins are cut from secure sums, and fewer rows a
        bin show rarer values in the model.
    rounds : how often the pods' updates are averaged.
    local_epochs, local_steps : how far each pod trains in a round; exactly one of them.
    optimizer, lr_decay : the pods' optimiser, made afresh each round; its rate falls by a cosine to ``lr_decay``
        of itself in the last round (1: it stays).
    strategy, strategy_params : the averaging strategy, by its Flower name, and its own parameters.
    early_stopping : when training ends before its last round; None: never.
    secure : whether the pods' vectors are masked.
    prime_q : order of the field; 2**61-1, or 2**31-1 for half the bytes.
    update_bound, max_weight, weighting : see `strategies.SecureAggregation`.
    threshold : answers that make a sum; 0 for the protocol's rule (all of up to three pods, else floor(2n/3) + 1).
    hello_timeout, rejoin_timeout, step_timeout : seconds for the pods to answer.
    """

    pods: tuple[PodName, ...] = Field(min_length=2)
    datastructure: DataStructure
    architecture: str = DEFAULT_ARCHITECTURE
    min_bin_rows: int = Field(default=MIN_BIN_ROWS, ge=1)
    rounds: int = Field(default=10, ge=1, le=10_000)
    local_epochs: int | None = Field(default=None, ge=1)
    local_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=256, ge=1)
    optimizer: Optimizer = _DEFAULT_OPTIMIZER
    lr_decay: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    strategy: Literal["FedAvg", "FedAdam", "FedAvgM", "FedProx"] = "FedAvg"
    strategy_params: dict[str, float] = Field(default_factory=dict)
    early_stopping: EarlyStopping | None = None
    secure: bool = True
    prime_q: int = 2**61 - 1
    update_bound: float = Field(default=8.0, gt=0, allow_inf_nan=False)
    max_weight: int = Field(default=1 << 20, ge=1)
    weighting: Literal["examples", "equal"] = "examples"
    threshold: int = Field(default=0, ge=0)
    hello_timeout: float = Field(default=60.0, gt=0)
    rejoin_timeout: float = Field(default=20.0, gt=0)
    step_timeout: float = Field(default=600.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.local_epochs is None) == (self.local_steps is None):
            raise UsageError("give exactly one of local_epochs and local_steps")
        if self.architecture not in ARCHITECTURES:
            raise UsageError(f"unknown architecture {self.architecture!r}; allowed are {', '.join(ARCHITECTURES)}")
        if len(set(self.pods)) != len(self.pods):
            raise UsageError(f"a pod is named twice: {', '.join(self.pods)}")
        return self

    @classmethod
    def from_flower(cls, given: Mapping[str, Any], pods: Sequence[str]) -> Self:
        """Build from Flower's run config: scalars under hyphenated keys, where "" and 0 stand for nothing said.

        Parameters
        ----------
        given : mapping
            ``Context.run_config``; its keys and defaults stand in pyproject.toml.
        pods : names of the federation's pods, which take part where none are named.
        """
        said = {key.replace("-", "_"): value for key, value in given.items() if value not in ("", 0) or value is False}
        try:
            optimizer = Optimizer(name=said.pop("optimizer"), params=json.loads(said.pop("optimizer_params")))
            datastructure = DataStructure(target=said.pop("target"), ignore_cols=_names(said.pop("ignore", "")))
            said["strategy_params"] = json.loads(said.get("strategy_params", "{}"))
        except (KeyError, ValueError) as error:
            raise UsageError(f"run config: {type(error).__name__} {error}; see [tool.flwr.app.config]") from error
        if "early_stopping" in said:
            said["early_stopping"] = EarlyStopping.from_text(said["early_stopping"])
        prime_q = 2**31 - 1 if said.pop("compact", False) else 2**61 - 1
        if "local_steps" in said:
            said.pop("local_epochs", None)
        named = _names(said.pop("pods", "")) or tuple(pods)
        return cls(pods=named, optimizer=optimizer, datastructure=datastructure, prime_q=prime_q, **said)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


class SecureAggregator(Frozen):
    """Secure aggregation: what leaves a pod is masked, and only the sum over the pods can be read.

    Attributes
    ----------
    prime_q : int
        Order of the finite field: 2**61-1, 8 bytes an element, or 2**31-1, 4 bytes and a coarser fixed-point step.
    update_bound : float
        Largest magnitude of an element of a pod's update; what is beyond is clipped, and counted.
    max_weight : int
        Largest number of training rows that a pod may have; a pod with more refuses.
    weighting : str
        "examples": each pod counts by its training rows; "equal": each pod counts as one.

    Raises
    ------
    UsageError
        If there is no field of that order.
    pydantic.ValidationError
        If another value is not as said here.
    """

    prime_q: int = 2**61 - 1
    update_bound: float = Field(default=8.0, gt=0, allow_inf_nan=False)
    max_weight: int = Field(default=1 << 20, ge=1)
    weighting: Literal["examples", "equal"] = "examples"

    @model_validator(mode="after")
    def _field_exists(self) -> Self:
        try:
            field_of(self.prime_q)
        except UnsupportedField as error:
            raise UsageError(f"SecureAggregator: {error}") from error
        return self

    def settings(self) -> dict[str, Any]:
        """Return these choices as fields of a `RunConfig`."""
        return {"secure": True, **self.model_dump()}


class FederatedAveraging(Frozen):
    """Plain federated averaging: the server sees every pod's update. Pods refuse it unless their owners allow it.

    Attributes
    ----------
    weighting : str
        "examples": each pod counts by its training rows; "equal": each pod counts as one.
    """

    weighting: Literal["examples", "equal"] = "examples"

    def settings(self) -> dict[str, Any]:
        """Return these choices as fields of a `RunConfig`."""
        return {"secure": False, **self.model_dump()}


Aggregator = SecureAggregator | FederatedAveraging
