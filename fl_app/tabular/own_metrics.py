"""Metrics of the modeller's own: what the network's file computes of each row, in bounds that it declares.

Figures are means over rows. A row's value is taken within the bounds and in units of the distance between them, so that
no row adds more than 1 to a sum, and sums are declared, added and hidden as all others of an evaluation are.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from fl_app.errors import UsageError
from fl_app.tabular.network_source import Bounds

MOST = 8
"""Metrics at most: each is one more number that an evaluation tells of the rows, and the file alone says which."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")


@dataclass(frozen=True)
class OwnMetrics:
    """What a network's file says of its metrics.

    Attributes
    ----------
    bounds : mapping of str to (float, float)
        By name the least and the largest value that a row may have; what is beyond counts as the nearer of the two.
    compute : callable
        From outputs, float [n, C], as the network gives them for rows that it is not trained on, and targets as a loss
        has them, to one float [n] for each name.
    """

    bounds: Bounds
    compute: Callable[[Tensor, Tensor], Any]

    @classmethod
    def of(cls, declared: object, compute: object) -> Self | None:
        """Return the metrics of a file with these ``METRICS`` and ``metrics``; None where it has neither.

        Raises
        ------
        UsageError
            If it has one of the two, or declares what they cannot be.
        """
        if declared is None and compute is None:
            return None
        if not callable(compute) or not isinstance(declared, Mapping):
            raise UsageError(
                "the network's file needs both, METRICS = {name: (least, largest)} and metrics(outputs, targets)"
            )
        if not 1 <= len(declared) <= MOST:
            raise UsageError(f"the network's file declares {len(declared)} METRICS, expected 1 to {MOST}")
        for name in declared:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise UsageError("a name among METRICS is up to 24 small letters, digits and underscores")
        return cls({name: _bounds(name, ends) for name, ends in declared.items()}, compute)

    def shares(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the values of rows in units of their bounds, float64 [n, metrics] between 0 and 1.

        What is no number counts as the least.

        Raises
        ------
        UsageError
            If the file gives other metrics than it declares, or something else than a number for each row.
        """
        given = self.compute(outputs, targets)
        if not isinstance(given, Mapping) or set(given) != set(self.bounds):
            raise UsageError(f"metrics(outputs, targets) returns a dictionary of {', '.join(self.bounds)}")
        columns = []
        for name, (low, high) in self.bounds.items():
            values = given[name]
            if not isinstance(values, Tensor) or tuple(values.shape) != (len(outputs),):
                raise UsageError(f"metrics(outputs, targets) gives no tensor [n] for {name!r}: a number for each row")
            columns.append(torch.nan_to_num((values.detach().double() - low) / (high - low), nan=0.0).clip(0, 1))
        return torch.stack(columns, 1)


def means(bounds: Bounds, sums: Sequence[float], rows: float) -> dict[str, float | None]:
    """Return the mean of each metric over so many rows, from sums of `OwnMetrics.shares`; None of no rows."""
    parts = zip(bounds.items(), sums, strict=True)
    return {name: low + (high - low) * total / rows if rows else None for (name, (low, high)), total in parts}


def _bounds(name: str, ends: object) -> tuple[float, float]:
    """Return the bounds of a metric; raises UsageError where they are none, or too far apart for a float."""
    if isinstance(ends, tuple | list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends):
        with suppress(OverflowError):
            low, high = map(float, ends)
            if low < high and math.isfinite(high - low):
                return low, high
    raise UsageError(f"METRICS: the bounds of {name!r} are two finite numbers, the least first")
