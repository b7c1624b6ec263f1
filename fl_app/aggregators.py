"""How the pods' updates become one: the modeller's choice, which every pod's owner may refuse."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fl_app.errors import UsageError
from fl_app.secagg.errors import UnsupportedField
from fl_app.secagg.field import field_of
from fl_app.tabular.frozen import Frozen


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
