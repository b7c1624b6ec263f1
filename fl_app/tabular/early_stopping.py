"""Early stopping: the modeller's settings, and where a run stands by them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

from pydantic import Field

from fl_app.errors import UsageError
from fl_app.validation import Frozen, named_values, unknown

StoppingMetric = Literal["accuracy", "auc", "f1", "recall", "precision", "brier", "loss", "mae", "rmse", "r2"]
NUMERIC_METRICS = ("mae", "rmse", "r2")
"""Those of a numeric target, which has no other but the loss."""
LOWER_IS_BETTER = ("brier", "loss", "mae", "rmse")


class EarlyStopping(Frozen):
    """End training once a metric of all pods' validation rows has not improved for some rounds.

    Pods evaluate a round's model when they receive it for the next round, so each metric comes in one round late: the
    round in which patience runs out has been trained too, and training ends with it.

    Attributes
    ----------
    metric : str
        "accuracy", "auc", "f1", "recall" and "precision" improve by growing, "brier" and "loss" by falling; of a
        numeric target "r2" by growing, "loss", "mae" and "rmse" by falling.
    patience : int
        Rounds in a row without an improvement that end the training.
    min_delta : float
        A change of this much or less is no improvement.
    restore_best : bool
        Return the model with the best metric known when training ends, not the last one. The last round's model has
        no metric by then; it is returned only if training ran to its full length, or a callback ended it, and the
        model before it was the best so far.
    """

    metric: StoppingMetric = "auc"
    patience: int = Field(default=3, ge=1)
    min_delta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    restore_best: bool = True

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read ``METRIC`` or ``METRIC,patience=5,min_delta=0.001,restore_best=false``, as the command line takes it.

        Raises
        ------
        UsageError
            If it is not of that form, or a value is wrong.
        """
        metric, *others = (part.strip() for part in text.split(","))
        allowed = [field for field in cls.model_fields if field != "metric"]
        given: dict[str, Any] = {"metric": metric, **named_values(others, allowed, "early stopping")}
        if metric not in get_args(StoppingMetric):
            raise UsageError(f"early stopping: {unknown(metric, get_args(StoppingMetric), 'metric')}")
        return cls(**given)


def stopping_from_text(text: str) -> EarlyStopping | Literal["auto"] | None:
    """Read what the command line says of early stopping: "auto", "never", or as `EarlyStopping.from_text`."""
    if text == "auto":
        return "auto"
    return None if text == "never" else EarlyStopping.from_text(text)


@dataclass(frozen=True)
class Standing:
    """Where a run stands by its early stopping settings: the best metric known, its round, and the rounds since.

    Attributes
    ----------
    best : float or None
        None while the metric has not been defined in any round.
    best_round, last_round : int
        The numbers of the rounds that made the best model and the last one evaluated, 0 if there is none.
    last_improvement : float or None
        The metric of the last round that was an improvement, by more than ``min_delta``.
    without_improvement : int
        Rounds evaluated since.
    """

    settings: EarlyStopping
    best: float | None = None
    best_round: int = 0
    last_round: int = 0
    last_improvement: float | None = None
    without_improvement: int = 0

    @classmethod
    def after(cls, settings: EarlyStopping, rounds: Iterable[Mapping[str, Any]]) -> "Standing":
        """Return where a run stands after these rounds, as results.json lists them; some have no metric yet."""
        standing = cls(settings)
        for entry in rounds:
            if settings.metric in entry:
                standing = standing.evaluated(entry["round"], entry[settings.metric])
        return standing

    def evaluated(self, number: int, value: float | None) -> "Standing":
        """Return the standing after round ``number``, whose model has this metric; None: no row defines it."""
        now = replace(self, last_round=number, without_improvement=self.without_improvement + 1)
        if value is not None and self._gain(value, self.best) > 0:
            now = replace(now, best=value, best_round=number)
        if value is not None and self._gain(value, self.last_improvement) > self.settings.min_delta:
            now = replace(now, last_improvement=value, without_improvement=0)
        return now

    @property
    def over(self) -> bool:
        """Whether patience has run out, and training ends."""
        return self.without_improvement >= self.settings.patience

    @property
    def restores(self) -> bool:
        """Whether the best model replaces the last one if training ends now."""
        return self.settings.restore_best and self.best_round > 0 and (self.over or self.best_round < self.last_round)

    @property
    def why(self) -> str:
        """Why training ends, in words."""
        settings = self.settings
        rounds = f"{self.without_improvement} round{'s' if self.without_improvement > 1 else ''}"
        if self.best is None:
            return f"{settings.metric} was defined in none of {rounds}"
        by = f" by more than {settings.min_delta:g}" if settings.min_delta else ""
        verb = "fallen" if settings.metric in LOWER_IS_BETTER else "grown"
        best = f"its best is {self.best:.4f}, of round {self.best_round}"
        return f"{settings.metric} has not {verb}{by} for {rounds}; {best}"

    def document(self) -> dict[str, Any]:
        """Return the standing as results.json holds it."""
        return {
            "metric": self.settings.metric,
            "best": self.best,
            "best_round": self.best_round,
            "without_improvement": self.without_improvement,
        }

    def _gain(self, value: float, than: float | None) -> float:
        """Return by how much ``value`` is better than ``than``; infinity where there is nothing to compare with."""
        if than is None:
            return math.inf
        return than - value if self.settings.metric in LOWER_IS_BETTER else value - than
