"""The rivals compute what they stand for: Flower's own SecAgg+ client, its weighted mean, and scalar shares."""

import importlib
from typing import Any

import numpy as np

from benchmarks import rivals


def secaggplus_client(parameters: list[Any], weight: int, seed: bytes) -> list[Any]:
    """Return what Flower's own client computes in its second stage, without neighbours."""
    from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
    from flwr.common.secure_aggregation.secaggplus_constants import Key

    own: Any = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    state = own.SecAggPlusState()
    state.nid, state.threshold, state.max_weight = 1, 0, 1000.0
    state.clipping_range, state.target_range, state.mod_range = 8.0, 1 << 22, 1 << 32
    state.rd_seed = seed
    configs: Any = {Key.CIPHERTEXT_LIST: [], Key.SOURCE_LIST: []}
    reply = own._collect_masked_vectors(state, configs, weight, ndarrays_to_parameters(parameters))
    return [bytes_to_ndarray(data) for data in reply[Key.MASKED_PARAMETERS]]  # type: ignore[union-attr, arg-type]


def test_the_rival_computes_what_flowers_own_client_computes() -> None:
    vector, seed = np.linspace(-9, 9, 1000, dtype=np.float32), bytes(range(32))
    np.random.seed(7)  # noqa: NPY002 - Flower rounds with it
    want = secaggplus_client([vector], 500, seed)
    np.random.seed(7)  # noqa: NPY002
    masked = rivals.secaggplus_pod_step([vector], 500, seed, [])
    assert [array.tolist() for array in masked] == [array.tolist() for array in want]


def test_the_rivals_sum_is_the_weighted_mean() -> None:
    vectors = [np.linspace(-1, 1, 50, dtype=np.float32) * k for k in (1, 2)]
    private, pair, other = bytes(32), bytes(range(32)), bytes(range(1, 33))
    first = rivals.secaggplus_pod_step([vectors[0]], 100, private, [pair, other])  # the first pair's mask subtracted
    second = rivals.secaggplus_pod_step([vectors[1]], 200, private, [other, pair])  # and here the second's
    (mean,) = rivals.secaggplus_server([first, second], [private, private])
    np.testing.assert_allclose(mean, (vectors[0] * 100 + vectors[1] * 200) / 300, atol=1e-4)


def test_scalar_shares_sum_to_the_mean() -> None:
    vector = np.linspace(-1, 1, 9, dtype=np.float32)
    masked = rivals.scalar_pod_step(vector, 3)
    np.testing.assert_allclose(rivals.scalar_server([masked - 3] * 2), vector, atol=1e-8)
