"""The privacy that a run asks for: how much it may tell of any one row."""

from typing import Any, Self

from pydantic import Field

from fl_app.validation import Frozen, named_values

MOST_DELTA = 1e-5
LEAST_EPSILON = 0.1


class Privacy(Frozen):
    """Differential privacy of a run: what leaves the pods is (epsilon, delta)-private for every row of every pod.

    All else follows from the two numbers and from what pods publish: how much noise each pod adds to what, and how
    far a row may move a sum. Two tables are neighbours if they differ in one row, which is as it is in one of them and
    blank in the other.

    Attributes
    ----------
    epsilon : float
        From 0.1 on. What is learnt from a run is at most exp(epsilon) times as likely with a row as without it.
    delta : float
        At most 1e-5, and best below one over the rows: the probability up to which that may fail.

    Raises
    ------
    UsageError
        If a number is not one of these.
    """

    epsilon: float = Field(ge=LEAST_EPSILON, le=64, allow_inf_nan=False)
    delta: float = Field(default=MOST_DELTA, ge=1e-15, le=MOST_DELTA)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read ``epsilon=3`` or ``epsilon=3,delta=1e-6``, as the command line takes it.

        Raises
        ------
        UsageError
            If it is not of that form, or a number is wrong.
        """
        given: dict[str, Any] = {**named_values(text.split(","), cls.model_fields, "privacy")}
        return cls(**given)

    @property
    def text(self) -> str:
        """The two numbers as people write them."""
        return f"epsilon {self.epsilon:g}, delta {self.delta:g}"
