"""Gradient descent on noised sums, as every party of a run computes it from the pods' sums alone, to the same bit.

A round is one step over all rows. Each row's gradient is clipped in coordinates of its own: a parameter that few rows
reach is scaled up, one that nearly all reach is scaled down, so that the same noise hides both. The scales follow from
noised counts. Momentum carries the steps on; the run's model is the mean over the second half of its steps, in which
the noise of single steps averages out.

Rates, momentum, clipping norm and scales were chosen on the validation rows of the census, of which training sees none:
they are flat there, half or twice of each changes the AUC by less than .002.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl_app.privacy.settings import Privacy

MOMENTUM = 0.9
WIDE = 0.1
"""Share of rows at which a parameter's scale is 1."""
LEAST_SCALE, MOST_SCALE = 0.3, 3.0
_VELOCITY, _SUM = "velocity.", "sum."
Arrays = Mapping[str, NDArray[np.floating]]


def rate_for(privacy: Privacy) -> float:
    """Return the learning rate of a run: with much noise, small steps."""
    return 0.5 if privacy.epsilon < 2 else 1.0


def scales_for(counts: NDArray[np.int64], rows: int, deviation: float) -> NDArray[np.float64]:
    """Return the scale of each code's parameters, from the noised counts of the rows that have it.

    Parameters
    ----------
    counts : array
        int64 [codes].
    rows : int
        All rows, above 0.
    deviation : float
        Of the noise in a count: a code that may have no rows at all is scaled down, since it learns from noise alone.

    Returns
    -------
    array
        float64 [codes], from `LEAST_SCALE` to `MOST_SCALE`.
    """
    scales = np.clip(np.sqrt(WIDE * rows / np.maximum(counts, 1)), LEAST_SCALE, MOST_SCALE)
    scales[counts < 2 * deviation] = LEAST_SCALE
    return scales


def descended(
    privacy: Privacy,
    model: Arrays,
    carried: Arrays,
    gradient: NDArray[np.float64],
    scales: NDArray[np.float64],
    place: tuple[int, int],
) -> tuple[dict[str, NDArray[np.floating]], dict[str, NDArray[np.floating]]]:
    """Return the model after a step, and what is carried to the next.

    Parameters
    ----------
    model, carried : mappings of name to array
        The model, and what the step before returned.
    gradient : array
        float64 [d]: the mean over the rows of their clipped gradients, with noise, in scaled coordinates.
    scales : array
        float64 [d].
    place : pair of int
        Which step it is, from 1, and of how many.
    """
    step, steps = place
    rate = rate_for(privacy)
    new: dict[str, NDArray[np.floating]] = {}
    kept: dict[str, NDArray[np.floating]] = {}
    averaged, at = step - steps // 2, 0
    for name, array in model.items():
        part = slice(at, at + array.size)
        at += array.size
        own = gradient[part].reshape(array.shape)
        velocity = MOMENTUM * carried[_VELOCITY + name] + own if _VELOCITY + name in carried else own.copy()
        kept[_VELOCITY + name] = velocity
        moved = np.subtract(array, rate * scales[part].reshape(array.shape) * velocity, dtype=np.float64)
        new[name] = moved.astype(array.dtype)
        if averaged > 0:
            total = carried[_SUM + name] + new[name] if _SUM + name in carried else new[name].astype(np.float64)
            kept[_SUM + name] = total
            if step == steps:
                new[name] = (total / averaged).astype(array.dtype)
    return new, kept
