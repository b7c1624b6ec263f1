"""The confidence intervals of a number's figures, computed from rows instead of sums."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def of_numbers(observed: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """Return the intervals of ``mae``, ``rmse`` and ``r2`` over rows, as `fl_app.tabular.intervals` says."""
    error, apart = observed - predicted, observed - observed.mean()
    ratio = (error**2).mean() / (apart**2).mean()
    z = stats.norm.ppf(0.975)

    def around(mean: float, terms: NDArray[np.float64]) -> tuple[float, float]:
        spread = z * terms.std() / len(terms) ** 0.5 / mean
        return float(mean * np.exp(-spread)), float(mean * np.exp(spread))

    low, high = around((error**2).mean(), error**2)
    worst, best = around(ratio, (error**2 - ratio * apart**2) / (apart**2).mean())[::-1]
    return {
        "mae": around(np.abs(error).mean(), np.abs(error)),
        "rmse": (low**0.5, high**0.5),
        "r2": (1 - worst, 1 - best),
    }
