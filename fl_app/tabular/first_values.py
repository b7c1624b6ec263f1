"""The first values of a network's parameters: the same to the bit on any processor.

Every pod builds the first network itself, and all must get the same one, or they follow a run in different ways.
torch's own draws are not that: on one processor its normal numbers differ in the last bit from those on another. Here
they are uniform numbers of a counter-based generator, of the variance that the layer's own draws have.
"""

import math
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn

from fl_app.errors import UsageError

PERIODIC_SCALE = 0.1
"""Deviation of the first frequencies of periodic embeddings."""
_OF_LIBRARIES = ("fl_app", "tabm", "rtdl_num_embeddings")
"""Packages whose layers, beside torch's own, have bounds of their own below."""


def draw(network: nn.Module, seed: int) -> None:
    """Draw the parameters of one of the product's own networks anew, but for those that start at 0 or at 1."""
    constant = {
        name
        for name, parameter in network.named_parameters()
        if bool((parameter == 0).all()) or bool((parameter == 1).all())
    }
    draw_all_but(constant, network, seed)


def draw_all_but(constant: Collection[str], network: nn.Module, seed: int, *, unknown: bool = False) -> None:
    """Draw the parameters anew, in their order, but for those that keep what they are.

    Parameters
    ----------
    constant : names of the parameters that stay.
    unknown : bool
        Whether layers may be of other kinds than those of the product's own networks: uniform by their fan-in then.

    Raises
    ------
    UsageError
        If a layer is of another kind, and may not be.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    for prefix, module in network.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if name in constant:
                continue
            start, own = parameter.detach(), name.rpartition(".")[2]
            bound = _bound_by_fan_in(module, start) if unknown else None
            uniform = 2 * generator.random(tuple(start.shape), dtype=np.float32).astype(np.float64) - 1
            bound = _bound(module, own) if bound is None else bound
            start.copy_(torch.from_numpy((bound * uniform).astype(np.float32)))


def _bound(module: nn.Module, name: str) -> float:
    """Return the largest magnitude of a parameter's first values."""
    weight: Tensor = module.get_parameter("weight")
    match type(module).__name__, name:
        case ("Embedding", _) | ("LinearBatchEnsemble", "r"):
            return math.sqrt(3)  # of variance 1
        case "_Periodic", _:
            return math.sqrt(3) * PERIODIC_SCALE
        case "Linear", _:
            return 1 / math.sqrt(weight.shape[1])
        case "PiecewiseLinear" | "_NLinear" | "LinearEnsemble", _:
            return 1 / math.sqrt(weight.shape[-2])
        case "LinearBatchEnsemble", _:
            return 1 / math.sqrt(weight.shape[1])
        case kind, _:
            raise UsageError(f"no first values are known for '{name}' of a layer of type {kind}")


def _bound_by_fan_in(module: nn.Module, start: Tensor) -> float | None:
    """Return the same for a layer of any kind; None for one of a package whose layers are known."""
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return math.sqrt(3)
    if type(module).__module__.partition(".")[0] in _OF_LIBRARIES:
        return None
    # A layer's bias has the bound of its weight; whatever else has one dimension, that of its length.
    weight = getattr(module, "weight", None)
    of = weight if start.ndim == 1 and isinstance(weight, Tensor) and weight.ndim > 1 else start
    return 1 / math.sqrt(max(1, of[0].numel() if of.ndim > 1 else of.numel()))
