"""Learning a number: how the target is scaled, and metrics as sums over rows, each with a bound known beforehand.

The network learns the target in standard deviations from its mean. Both are made of sums over pods that carry noise,
and the target is clipped to the bounds of the schema, as predictions are. So no error exceeds the distance between the
bounds, and in units of it no row adds more than 1 to a sum.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from fl_app.errors import DataError, RunFailed, UsageError
from fl_app.tabular.binning import mean_and_std, resolve
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import Statistics, cell_of, grid
from fl_app.validation import Frozen

Loss = Literal["squared", "absolute"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
DEFAULT_LOSS: Loss = "squared"
GROUPS = 10
"""Groups of the target's values, as many rows in each as can be, in which predicted and observed values are counted."""
ERRORS, PAIRS = "errors", "pairs"
_SUMS = 9
_LEAST_VARIANCE = 1e-12
"""Of rows, in squared units of the distance between the bounds: what is below may be rounding alone, and has no R2."""


class NumericTarget(Frozen):
    """How a numeric target is learnt.

    Attributes
    ----------
    mean, std : float
        Of the training rows of all pods, up to noise, in the column's own unit.
    groups : tuple of float
        Ascending edges of the groups in which values are counted; the outermost are the public bounds.
    loss : "squared" or "absolute"
        What training makes small: squared error, whose best prediction is the mean, or absolute, the median.
    """

    mean: float
    std: float
    groups: tuple[float, ...]
    loss: Loss = DEFAULT_LOSS

    @model_validator(mode="after")
    def _usable(self) -> Self:
        ascending = all(below < above for below, above in itertools.pairwise(self.groups))
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise UsageError("a numeric target needs a finite mean and a deviation above 0")
        if not 2 <= len(self.groups) <= GROUPS + 1 or not ascending or not all(map(math.isfinite, self.groups)):
            raise UsageError(f"the groups of a numeric target are 1 to {GROUPS}, between ascending edges")
        return self

    @classmethod
    def of(cls, column: Column, statistics: Statistics, min_rows: int, loss: Loss = DEFAULT_LOSS) -> Self:
        """Derive from the target's own sums over all pods: of one column.

        Every step is exact or rounded as IEEE 754 says: the same sums give the same bits on any processor.

        Parameters
        ----------
        min_rows : int
            Fewest rows of all pods in a block of the histogram that is looked into.
        """
        edges, (levels,) = grid(column), statistics.levels((column,))
        (moments,) = statistics.moments.tolist()
        mean, std = mean_and_std(column, moments, edges, levels, statistics.pods)
        blocks = resolve(edges, levels, statistics.pods, min_rows)
        groups = _groups(column, blocks.edges, blocks.counts.tolist())
        return cls(mean=mean, std=std, groups=groups, loss=loss)

    def standardised(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return values as the network learns them."""
        return ((values - self.mean) / self.std).astype(np.float32)

    def predicted(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return predictions, float64 [n], in the target's unit and within its bounds, from a network's outputs."""
        return np.clip(self.mean + self.std * outputs.astype(np.float64), self.groups[0], self.groups[-1])


def _groups(column: Column, edges: NDArray[np.float64], counts: Sequence[int]) -> tuple[float, ...]:
    """Cut where a tenth of the rows has come together since the cut before; a cut lies between values, never on one."""
    low, high = column.bounds
    total, rows, cuts = sum(counts), 0, list[float]()
    for place, count in enumerate(counts):
        rows = max(0, rows + count)
        if total > 0 and rows * GROUPS >= total and low < edges[place + 1] < high:
            cuts.append(float(edges[place + 1]))
            rows = 0
    if cuts and rows * GROUPS < total:  # too few for a group of their own
        cuts.pop()
    return low, *cuts[: GROUPS - 1], high


@dataclass(frozen=True)
class Errors:
    """Sums over rows of a numeric target; ``+`` gives those of both sets of rows together.

    Attributes
    ----------
    sums
        float64 [9]: of |e|, e^2, d and d^2, which metrics are made of, then of e^4, d^3, d^4, e^2 d and e^2 d^2, which
        their confidence intervals are made of. The error e = prediction - value and d = value - mean are in units of
        the distance between the public bounds: no row adds more than 1 to any.
    pairs
        int64 [g, g]: rows by the group of the value, and by that of the prediction.
    """

    sums: NDArray[np.float64]
    pairs: NDArray[np.int64]

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(self.sums + other.sums, self.pairs + other.pairs)

    @property
    def rows(self) -> int:
        """How many rows are counted."""
        return int(self.pairs.sum())

    @property
    def variance(self) -> float | None:
        """The values' variance, in squared units of the sums; None without a row, or where it may be rounding alone."""
        if not self.rows:
            return None
        _, _, apart, squared = self.sums[:4].tolist()
        variance: float = squared / self.rows - (apart / self.rows) ** 2
        return variance if variance > _LEAST_VARIANCE else None

    def arrays(self) -> dict[str, NDArray[np.int64] | NDArray[np.float64]]:
        """Give flat arrays in a fixed order."""
        return {ERRORS: self.sums, PAIRS: self.pairs.ravel()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """Undo :meth:`arrays`; counts that come as floats are rounded."""
        pairs = np.rint(arrays[PAIRS]).astype(np.int64)
        size = math.isqrt(len(pairs))
        return cls(np.asarray(arrays[ERRORS], np.float64), pairs.reshape(size, size))

    @classmethod
    def zeros(cls, target: NumericTarget) -> Self:
        """The sums of no rows."""
        size = len(target.groups) - 1
        return cls(np.zeros(_SUMS), np.zeros((size, size), dtype=np.int64))


def errors_of(values: NDArray[np.float64], predictions: NDArray[np.float64], target: NumericTarget) -> Errors:
    """Sum the errors of predictions, float64 [n] as the values, both in the target's unit and within its bounds.

    Raises
    ------
    RunFailed
        A prediction is not finite.
    """
    if not np.isfinite(predictions).all():
        raise RunFailed("the model's predictions are not finite: training diverged; use a smaller learning rate")
    low, high = target.groups[0], target.groups[-1]
    error, apart = (predictions - values) / (high - low), (values - target.mean) / (high - low)
    pairs = Errors.zeros(target).pairs
    edges = np.array(target.groups)
    np.add.at(pairs, (cell_of(values, edges), cell_of(predictions, edges)), 1)
    squared, square = error * error, apart * apart
    of_metrics = [np.abs(error), squared, apart, square]
    of_intervals = [squared * squared, apart * square, square * square, squared * apart, squared * square]
    return Errors(np.array([terms.sum() for terms in (*of_metrics, *of_intervals)]), pairs)


def place_of_loss(target: NumericTarget) -> int:
    """Return which of the sums of `Errors` training makes small."""
    return 1 if target.loss == "squared" else 0


def metrics_of_errors(errors: Errors, target: NumericTarget) -> dict[str, float]:
    """Compute metrics from (summed) errors.

    Returns
    -------
    dict
        ``mae`` and ``rmse``, in the target's unit; ``r2``, the share of the variance of these rows that is explained;
        ``loss``, the mean of the errors in standard deviations of the training rows, squared or absolute;
        ``num_examples``. What the rows do not define is NaN, as R2 is where all their values are the same.
    """
    absolute, squared = errors.sums[:2].tolist()
    rows, unit, nothing = errors.rows, target.groups[-1] - target.groups[0], float("nan")
    if not rows:
        return {"mae": nothing, "rmse": nothing, "r2": nothing, "loss": nothing, "num_examples": 0.0}
    variance = errors.variance
    mae, mse = unit * max(absolute, 0.0) / rows, unit * unit * max(squared, 0.0) / rows
    return {
        "mae": mae,
        "rmse": math.sqrt(mse),
        "r2": nothing if variance is None else 1 - squared / rows / variance,
        "loss": mse / target.std**2 if target.loss == "squared" else mae / target.std,
        "num_examples": float(rows),
    }


def score_numbers(
    values: NDArray[np.float64], predictions: NDArray[np.float64], target: NumericTarget
) -> dict[str, float]:
    """Return the metrics of `metrics_of_errors` over rows at hand; raises `DataError` if there is none."""
    if not len(values):
        raise DataError("no row has a number in the target's column")
    return metrics_of_errors(errors_of(values, predictions, target), target)
