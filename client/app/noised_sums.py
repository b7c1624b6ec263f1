"""What a pod adds to the statistics step: sums over its rows, and its share of the noise that hides a row in them."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fl_app.secagg.noise import RandomBytes, discrete_gaussian
from fl_app.tabular.label_counts import LABELS
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import HISTOGRAM, MOMENTS, NOISE_TAIL, VARIANCE, Statistics, histogram_variances


def noised(
    statistics: Statistics,
    columns: Sequence[Column],
    labels: NDArray[np.int64],
    minimum_cohort: int,
    randomness: RandomBytes | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Return a pod's sums with its share of the noise.

    Every sum that can be decoded holds ``minimum_cohort`` pods or more, and each pod knows its own share. So the shares
    of the others alone add up to the variance that is wanted, and no pod has to trust another one for its own rows:
    with ``minimum_cohort`` of two, its share is all of the noise.

    Parameters
    ----------
    statistics : Statistics
        Of the pod's training rows, in these ``columns``.
    labels : array
        int64 [codes], see `label_sums`.
    minimum_cohort : int
        The owner's fewest pods in a sum.
    randomness : callable
        For tests; the system's otherwise.

    Returns
    -------
    dict
        int64 arrays by name; counts are raised by `NOISE_TAIL`, so that none is below zero.
    """
    sums = {**statistics.arrays(), LABELS: labels}
    parts = {}
    for name, values in sums.items():
        variances = histogram_variances(columns) if name == HISTOGRAM else np.full(values.size, VARIANCE)
        # Noise in integers would leave the digits behind the point as they are. Rounded so, a row still adds at most 1.
        whole = np.floor(values + 0.5).astype(np.int64)
        parts[name] = whole + (0 if name == MOMENTS else NOISE_TAIL)
        for variance in np.unique(variances).tolist():
            places = np.flatnonzero(variances == variance)
            parts[name][places] += share_of_noise(variance, len(places), minimum_cohort, randomness)
    return parts


def share_of_noise(
    variance: int, size: int, minimum_cohort: int, randomness: RandomBytes | None = None
) -> NDArray[np.int64]:
    """Draw a pod's share of noise, int64 [size]: with those of all other pods but one it has the variance wanted."""
    return discrete_gaussian(max(Fraction(1), Fraction(variance, max(1, minimum_cohort - 1))), size, randomness)
