"""The sum of clipped gradients of a linear network, by the few elements that are not zero, and with noise drawn ahead.

A row reaches one bin or category of each column, so that its gradient has some thirty elements of several hundred. The
product's own way takes any network and ten times as long, which is much for hundreds of runs. A test compares the two.
"""

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl_app.privacy.plan import CLIP, Plan
from fl_app.secagg.noise import RandomBytes, discrete_gaussian
from fl_app.tabular.encoding import Encoded
from fl_app.tabular.network import Linear

_AT_ONCE = 1 << 16


class QuickGradient:
    """Answers as `client.app.private_answers.gradient` does, for a linear network and one variance of the noise.

    Parameters
    ----------
    randomness : callable
        What noise is drawn from.
    """

    def __init__(self, randomness: RandomBytes) -> None:
        self._randomness = randomness
        self._ahead = np.zeros(0, np.int64)

    def __call__(
        self,
        plan: Plan,
        honest: int,
        network: nn.Module,
        training: Encoded,
        scales: NDArray[np.float64],
        _randomness: RandomBytes | None = None,
    ) -> NDArray[np.float64]:
        """Return a pod's noised sum; raises `TypeError` for another network."""
        if not isinstance(network, Linear):
            raise TypeError("expected a linear network")
        noise = plan.gradient
        if len(self._ahead) < len(scales):
            self._ahead = discrete_gaussian(Fraction(noise.share(honest)), _AT_ONCE + len(scales), self._randomness)
        own, self._ahead = self._ahead[: len(scales)], self._ahead[len(scales) :]
        values: NDArray[np.float64] = (
            sum_of_clipped(network, training, scales, CLIP, noise.grains) + own
        ) / noise.grains
        return values


def sum_of_clipped(
    network: Linear, encoded: Encoded, scales: NDArray[np.float64], clip: float, grains: int
) -> NDArray[np.int64]:
    """Return what `fl_app.tabular.row_gradients.sum_of_clipped` does, of rows with labels and a finite network."""
    network.eval()
    bins, codes, labels = (torch.from_numpy(x).long() for x in (encoded.bins, encoded.codes, _labels(encoded)))
    with torch.no_grad():
        logits = network(torch.from_numpy(encoded.numbers), bins, codes)
    logits.requires_grad_()
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    (slopes,) = torch.autograd.grad(loss, logits)
    # Parameters lie as the network's state has them: the bias, the bins' table, the codes' table, classes side by side.
    first = torch.zeros((len(labels), 1), dtype=torch.int64)
    at_bins, behind = 1 + network.bins.offsets + bins, 1 + network.bins.table.num_embeddings
    at_codes = behind + network.codes.offsets + codes
    classes = slopes.shape[1]
    places = torch.cat([first, at_bins, at_codes], 1).numpy()[:, :, None] * classes + np.arange(classes)
    rows = slopes.numpy().astype(np.float64)[:, None, :] * scales[places]
    norms = np.sqrt(np.square(rows).sum(axis=(1, 2)))
    whole = np.trunc(rows * (np.minimum(1.0, clip / np.maximum(norms, clip)) * grains)[:, None, None])
    whole[np.square(whole).sum(axis=(1, 2)) > int(clip * grains) ** 2] = 0
    # Sums of whole numbers below 2^53 are exact.
    total: NDArray[np.int64] = np.bincount(places.ravel(), whole.ravel(), len(scales)).astype(np.int64)
    return total


def _labels(encoded: Encoded) -> NDArray[np.signedinteger]:
    if encoded.labels is None:
        raise TypeError("expected rows with labels")
    return encoded.labels
