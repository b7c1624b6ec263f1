"""Ending a training that no longer gets better: what the modeller asks for, and how far a run is by that measure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_args

from pydantic import Field

from fl_app.errors import UsageError
from fl_app.validation import Frozen, unknown

StoppingMetric = Literal["accuracy", "auc", "f1", "recall", "precision", "brier", "loss"]
_LOWER_IS_BETTER = ("brier", "loss")


class EarlyStopping(Frozen):
    """End training once a metric of all pods' validation rows has not improved for some rounds.

    A round's metric is that of the model it made, and comes in while the next round trains; so the round that shows
    that the patience is over has been trained too, and training ends with it.

    Attributes
    ----------
    metric : str
        "accuracy", "auc", "f1", "recall" and "precision" improve by growing, "brier" and "loss" by falling.
    patience : int
        Rounds in a row without an improvement that end the training.
    min_delta : float
        A change by this much or less is no improvement.
    restore_best : bool
        Keep the model with the best metric known when training ends, in place of the last. The last round's
        model has no metric of its own by then; it is kept only if training went its whole length, or was ended by a
        callback, and the model before it was the best so far.
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
        given: dict[str, Any] = {"metric": metric}
        for part in others:
            name, equals, value = (side.strip() for side in part.partition("="))
            if not equals or name not in cls.model_fields or name == "metric":
                allowed = [field for field in cls.model_fields if field != "metric"]
                raise UsageError(f"early stopping: {part!r}: {unknown(name, allowed, 'setting')}, each as NAME=VALUE")
            given[name] = value
        if metric not in get_args(StoppingMetric):
            raise UsageError(f"early stopping: {unknown(metric, get_args(StoppingMetric), 'metric')}")
        return cls(**given)


@dataclass(frozen=True)
class Standing:
    """How far a run is by its early stopping: the best metric known, of which round, and how long ago.

    Attributes
    ----------
    best : float or None
        None while the metric has not been defined in any round.
    best_round, last_round : int
        The numbers of the rounds that made the best model and the last one evaluated, 0 if there is none.
    passed : float or None
        The metric of the last round that was an improvement, by more than ``min_delta``.
    without_improvement : int
        Rounds evaluated since.
    """

    asked: EarlyStopping
    best: float | None = None
    best_round: int = 0
    last_round: int = 0
    passed: float | None = None
    without_improvement: int = 0

    @classmethod
    def after(cls, asked: EarlyStopping, rounds: Iterable[Mapping[str, Any]]) -> "Standing":
        """Return where a run stands after these rounds, as results.json lists them; of some no metric is known."""
        standing = cls(asked)
        for entry in rounds:
            if asked.metric in entry:
                standing = standing.evaluated(entry["round"], entry[asked.metric])
        return standing

    def evaluated(self, number: int, value: float | None) -> "Standing":
        """Return the standing once the metric of round ``number``'s model is known; None: no row defines it."""
        now = replace(self, last_round=number, without_improvement=self.without_improvement + 1)
        if value is not None and self._gain(value, self.best) > 0:
            now = replace(now, best=value, best_round=number)
        if value is not None and self._gain(value, self.passed) > self.asked.min_delta:
            now = replace(now, passed=value, without_improvement=0)
        return now

    @property
    def over(self) -> bool:
        """Whether training is to end."""
        return self.without_improvement >= self.asked.patience

    @property
    def restores(self) -> bool:
        """Whether the best model, and not the last, is the one to keep if training ends now."""
        return self.asked.restore_best and self.best_round > 0 and (self.over or self.best_round < self.last_round)

    @property
    def why(self) -> str:
        """Why training is to end, in words."""
        asked = self.asked
        rounds = f"{self.without_improvement} round{'s' if self.without_improvement > 1 else ''}"
        if self.best is None:
            return f"{asked.metric} was defined in none of {rounds}"
        by = f" by more than {asked.min_delta:g}" if asked.min_delta else ""
        verb = "fallen" if asked.metric in _LOWER_IS_BETTER else "grown"
        return (
            f"{asked.metric} has not {verb}{by} for {rounds}; its best is {self.best:.4f}, of round {self.best_round}"
        )

    def document(self) -> dict[str, Any]:
        """Return the standing as results.json tells it."""
        return {
            "metric": self.asked.metric,
            "best": self.best,
            "best_round": self.best_round,
            "without_improvement": self.without_improvement,
        }

    def _gain(self, value: float, than: float | None) -> float:
        """Return by how much ``value`` is better; than nothing, by infinitely much."""
        if than is None:
            return math.inf
        return than - value if self.asked.metric in _LOWER_IS_BETTER else value - than
