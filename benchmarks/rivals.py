"""What the core is measured against: Flower's SecAgg+, and scalar shares.

SecAgg+ is computed as its own client (``secaggplus_mod``) and its own workflow compute, with its own functions and its
default ranges, minus what both sides have alike: keys, serialisation, network. Scalar shares are one random field
element for a whole vector, as older systems add; that is fast and hides next to nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    factor_extract,
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_multiply,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize, quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

from fl_app.secagg.field import FIELD_61

_CLIP, _LEVELS, _MODULUS, _MAX_WEIGHT = 8.0, 1 << 22, 1 << 32, 1000  # SecAgg+'s defaults

Arrays = list[npt.NDArray[Any]]


def secaggplus_mask(vector: Arrays, seed: bytes) -> Arrays:
    """One more mask: drawn, and added."""
    return parameters_addition(vector, pseudo_rand_gen(seed, _MODULUS, get_parameters_shape(vector)))


def secaggplus_pod_step(parameters: Arrays, weight: int, private: bytes, pairs: Sequence[bytes]) -> Arrays:
    """A client's second stage: weight, quantise, add the private mask and a mask for every other client, reduce."""
    q_ratio = round(weight / _MAX_WEIGHT * _LEVELS)
    weighted = parameters_multiply(parameters, q_ratio / _LEVELS)
    quantized = factor_combine(q_ratio, quantize(weighted, _CLIP, _LEVELS))
    shapes = [array.shape for array in quantized]
    quantized = parameters_addition(quantized, pseudo_rand_gen(private, _MODULUS, shapes))
    for i, shared in enumerate(pairs):
        mask = pseudo_rand_gen(shared, _MODULUS, shapes)
        quantized = (parameters_addition if i % 2 else parameters_subtraction)(quantized, mask)
    return parameters_mod(quantized, _MODULUS)


def secaggplus_server(vectors: Sequence[Arrays], private: Sequence[bytes]) -> Arrays:
    """The workflow's last two stages: sum, remove the private masks, dequantise, divide by the weight."""
    summed = vectors[0]
    for vector in vectors[1:]:
        summed = parameters_addition(summed, vector)
    summed = parameters_mod(summed, _MODULUS)
    for seed in private:
        mask = pseudo_rand_gen(seed, _MODULUS, get_parameters_shape(summed))
        summed = parameters_subtraction(summed, mask)
    q_total_ratio, quantized = factor_extract(parameters_mod(summed, _MODULUS))
    result = dequantize(quantized, _CLIP, _LEVELS)
    for array in result:
        array += -(len(vectors) - 1) * _CLIP
        array *= _LEVELS / max(1, int(q_total_ratio))
    return result


def scalar_pod_step(vector: npt.NDArray[np.float32], pods: int) -> npt.NDArray[np.int64]:
    """Encode into Z_q, then add one number for each other pod, each reduced at once."""
    field = np.rint(vector.astype(np.float64) * 2.0**30).astype(np.int64) % FIELD_61.prime
    for i in range(1, pods):
        field = (field + i) % FIELD_61.prime
    return field


def scalar_server(vectors: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float64]:
    """Sum in the field, centre, divide."""
    prime = FIELD_61.prime
    total = vectors[0]
    for vector in vectors[1:]:
        total = (total + vector) % prime
    return np.where(total > prime // 2, total - prime, total) / 2.0**30 / len(vectors)
