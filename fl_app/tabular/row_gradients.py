"""Sums of the gradients of single rows, each clipped to one norm, in whole numbers: so a row has an exact bound."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fl_app.tabular.eager import without_compiler
from fl_app.tabular.encoding import Encoded

_ELEMENTS = 1 << 24
"""Elements of row gradients held at once, 64 MiB of float32."""
_MOST_ROWS = 1024


def sum_of_clipped(
    network: nn.Module, encoded: Encoded, scales: NDArray[np.float64], clip: float, grains: int
) -> NDArray[np.int64]:
    """Return the sum over rows of the gradients of their losses, scaled, clipped and cut off to whole grains.

    No row, whatever its values and the network, moves the sum by more than ``clip * grains`` in Euclidean norm; a row
    whose gradient is not finite adds nothing. Each is computed at its own place among all rows of the table: in batches
    that follow the rows there are, what rounding makes of one would depend on the others. The network is used as it
    predicts, without dropout.

    Parameters
    ----------
    network : Module
        Its parameters are d numbers in all.
    encoded : Encoded
        The rows, with labels.
    scales : array
        float64 [d], by which each element is multiplied first.
    clip : float
        The largest norm of a row's scaled gradient.
    grains : int
        Whole numbers that make one of its elements' unit.

    Returns
    -------
    array
        int64 [d], for the network's state in its order.
    """
    total = np.zeros(len(scales), dtype=np.int64)
    whole, places = encoded.in_place()
    if whole.labels is None:
        return total
    there = np.zeros(len(whole), bool)
    there[places] = True
    network.eval()
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    buffers = {name: buffer for name, buffer in network.named_buffers() if buffer is not None}

    def loss(own: dict[str, Tensor], numbers: Tensor, bins: Tensor, codes: Tensor, label: Tensor) -> Tensor:
        row = (numbers.unsqueeze(0), bins.unsqueeze(0), codes.unsqueeze(0))
        logits = functional_call(network, {**own, **buffers}, row).squeeze(0)
        # Not `cross_entropy`: torch takes such gradients of it by a detour that imports half a second of its compiler.
        return -nn.functional.log_softmax(logits, dim=0).gather(0, label.unsqueeze(0)).squeeze(0)

    gradients = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0))
    at_once = max(1, min(_MOST_ROWS, _ELEMENTS // max(1, len(scales))))
    for start in range(0, len(whole), at_once):
        part = slice(start, start + at_once)
        codes = (torch.from_numpy(array[part]).long() for array in (whole.bins, whole.codes, whole.labels))
        with without_compiler():
            rows = gradients(parameters, torch.from_numpy(whole.numbers[part]), *codes)
        flat = torch.cat([rows[name].flatten(1) for name in parameters], dim=1).numpy().astype(np.float64)
        total += clipped(flat * scales, clip, grains)[there[part]].sum(axis=0)
    return total


def clipped(rows: NDArray[np.float64], clip: float, grains: int) -> NDArray[np.int64]:
    """Return each row clipped to a norm and cut off to whole grains, towards zero; int64 of the same shape.

    Parameters
    ----------
    rows : array
        float64 [n, d].
    clip, grains
        As for `sum_of_clipped`.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.sqrt(np.square(rows).sum(axis=1))
        factors = np.where(np.isfinite(norms), np.minimum(1.0, clip / np.maximum(norms, clip)), 0.0)
        whole: NDArray[np.int64] = np.trunc(
            np.nan_to_num(rows, posinf=0.0, neginf=0.0) * (factors * grains)[:, None]
        ).astype(np.int64)
    # Rounding errs by a part in 2^50 of the norm, so that a sum of squares may be one too many: such a row is left out.
    limit = int(clip * grains) ** 2
    whole[np.square(whole).sum(axis=1) > limit] = 0
    return whole
