"""A pod's share of the noise that hides a row in a sum."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fl_app.privacy.plan import Noise
from fl_app.secagg.noise import RandomBytes, discrete_gaussian


def noised(
    grains: NDArray[np.int64], noise: Noise, honest: int, randomness: RandomBytes | None = None
) -> NDArray[np.float64]:
    """Return values with this pod's share of the noise, exactly representable: so many grains each.

    Parameters
    ----------
    grains : array
        int64, of any shape: the pod's own sums.
    noise : Noise
        What the sum over all pods is to hold at least.
    honest : int
        Pods, this one included, that keep their shares to themselves. With those of the others the sum holds more.
    randomness : callable
        For tests; the system's otherwise.

    Returns
    -------
    array
        float64 of the same shape.
    """
    share = discrete_gaussian(Fraction(noise.share(honest)), grains.size, randomness)
    values: NDArray[np.float64] = (grains + share.reshape(grains.shape)) / noise.grains
    return values
