"""The settings of a run of secure aggregation: how values are summed, which losses are survived, how long is waited.

Every default stands here and nowhere else. Knows neither Flower nor tables.
"""

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from fl_app.errors import UsageError
from fl_app.secagg.errors import UnsupportedField
from fl_app.secagg.field import FIELD_61, field_of
from fl_app.validation import Frozen

Weighting = Literal["examples", "equal"]
DEFAULT_WEIGHTING: Weighting = "examples"
MAX_WEIGHTS = (1 << 20, 1 << 24, 1 << 28)
"""What the largest weight may be. A pod with more rows refuses, so that with numbers in between a server could find out
how many rows a pod has."""


class Aggregation(Frozen):
    """How the pods' values are bounded, weighted and summed.

    Attributes
    ----------
    prime_q : int
        Order of the finite field: 2**61-1, 8 bytes an element, or 2**31-1, 4 bytes and a coarser fixed-point step.
    update_bound : float
        Largest magnitude of an element of a pod's update; what is beyond is clipped, and counted.
    max_weight : int
        Largest number of rows that a pod may have, one of `MAX_WEIGHTS`; a pod with more refuses.
    weighting : str
        "examples": each pod counts by its training rows; "equal": each pod counts as one.

    Raises
    ------
    UsageError
        If there is no field of that order, or another value is not as described here.
    """

    prime_q: int = FIELD_61.prime
    update_bound: float = Field(default=8.0, gt=0, allow_inf_nan=False)
    max_weight: int = MAX_WEIGHTS[0]
    weighting: Weighting = DEFAULT_WEIGHTING

    @model_validator(mode="after")
    def _usable(self) -> Self:
        try:
            field_of(self.prime_q)
        except UnsupportedField as error:
            raise UsageError(f"{type(self).__name__}: {error}") from error
        if self.max_weight not in MAX_WEIGHTS:
            allowed = ", ".join(map(str, MAX_WEIGHTS))
            raise UsageError(
                f"{type(self).__name__}: max_weight {self.max_weight} would tell how many rows pods have: use one of"
                f" {allowed}, the first that no pod has more rows than"
            )
        return self

    @property
    def largest_weight(self) -> int:
        """The largest weight that a pod's update may have: 1 where every pod counts as one."""
        return 1 if self.weighting == "equal" else self.max_weight


@dataclass(frozen=True)
class Dropouts:
    """Which losses of pods a run survives.

    Attributes
    ----------
    threshold : int
        Pods whose answers make a sum; 0: the protocol's rule, all of up to three, else floor(2n/3) + 1.
    membership_changes : int
        How often the run may go on in a new session after pods were lost; their owners may allow less.
    """

    threshold: int = 0
    membership_changes: int = 3


@dataclass(frozen=True)
class Timing:
    """How long the server waits, in seconds.

    Attributes
    ----------
    hello : float
        For the requested pods to connect and answer at the start.
    rejoin : float
        The same when a new session is opened after pods were lost.
    step : float
        For the pods' answers to a step.
    unmask : float
        For the answers of the small trips after the vectors, in which no model is loaded.
    grace : float
        For the last pods once enough others have answered, or as long again as those took.
    poll : float
        Longest interval between two polls for replies.
    """

    hello: float = 60.0
    rejoin: float = 20.0
    step: float = 600.0
    unmask: float = 120.0
    grace: float = 15.0
    poll: float = 0.1
