from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from fl_app.tabular.network import build_network, state_of
from fl_app.tabular.row_gradients import clipped, sum_of_clipped
from fl_app.tabular.settings import ARCHITECTURES

from .tables import encoding_of, shop

FRAME = shop(60)
ENCODING = encoding_of(FRAME)
ROWS = ENCODING.encode(FRAME)
GRAINS = 1 << 13


def moved(architecture: str) -> torch.nn.Module:
    """A network that is not at its start, where many gradients are zero."""
    network = build_network(ENCODING, architecture, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_sum_is_that_of_each_rows_gradient_clipped(architecture: str) -> None:
    network = moved(architecture)
    names = list(state_of(network))
    assert names == [name for name, _ in network.named_parameters()]  # the order in which a model is summed
    size = sum(array.size for array in state_of(network).values())
    scales = np.random.default_rng(0).uniform(0.3, 3, size)
    assert ROWS.labels is not None
    network.eval()
    gradients = []
    for row in range(len(ROWS)):
        network.zero_grad()
        inputs = (torch.from_numpy(part[row : row + 1]) for part in (ROWS.numbers, ROWS.bins, ROWS.codes))
        numbers, bins, codes = inputs
        logits = network(numbers, bins.long(), codes.long())
        torch.nn.functional.cross_entropy(logits, torch.tensor([int(ROWS.labels[row])])).backward()
        flat = np.concatenate([
            parameter.grad.numpy().ravel() if parameter.grad is not None else np.zeros(parameter.numel())
            for parameter in network.parameters()
        ]) * scales  # fmt: skip
        gradients.append(flat)
    norms = np.linalg.norm(gradients, axis=1)
    clip = float(np.median(norms))
    assert norms.min() < clip < norms.max()
    expected = (np.array(gradients) * np.minimum(1.0, clip / norms)[:, None]).sum(axis=0)
    found = sum_of_clipped(network, ROWS, scales, clip, GRAINS)
    assert_allclose(found / GRAINS, expected, atol=len(ROWS) / GRAINS + 1e-4)


@given(
    arrays(np.float64, (4, 3), elements=st.floats(width=64, allow_nan=True, allow_infinity=True)),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([1, 16, GRAINS]),
)
@settings(max_examples=300, deadline=None)
def test_no_row_is_longer_than_the_norm_whatever_its_numbers(rows: np.ndarray, clip: float, grains: int) -> None:
    whole = clipped(rows, clip, grains)
    assert whole.dtype == np.int64
    assert (np.square(whole).sum(axis=1) <= (clip * grains) ** 2).all()
    broken = ~np.isfinite(rows).all(axis=1)
    assert not whole[broken].any()


def test_short_rows_stay_as_they_are_and_long_ones_keep_their_direction() -> None:
    rows = np.array([[0.25, -0.5], [30.0, 40.0], [0.0, 0.0]])
    assert_array_equal(clipped(rows, 1.0, 1000), [[250, -500], [600, 800], [0, 0]])


def test_a_network_beyond_all_numbers_and_a_table_without_rows_add_nothing() -> None:
    network = moved("linear")
    size = sum(array.size for array in state_of(network).values())
    with torch.no_grad():
        next(network.parameters()).fill_(float("inf"))
    assert not sum_of_clipped(network, ROWS, np.ones(size), 1.0, GRAINS).any()
    none = replace(ROWS, **{name: getattr(ROWS, name)[:0] for name in ("numbers", "bins", "codes", "labels", "places")})
    assert_array_equal(sum_of_clipped(moved("linear"), none, np.ones(size), 1.0, GRAINS), np.zeros(size))


@pytest.mark.parametrize("kept", [["age", "bought"], ["town", "bought"]], ids=["numbers", "categories"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_table_of_numbers_or_of_categories_alone_has_gradients_too(architecture: str, kept: list[str]) -> None:
    encoding = encoding_of(FRAME[kept])
    network = build_network(encoding, architecture, seed=1)
    size = sum(array.size for array in state_of(network).values())
    assert sum_of_clipped(network, encoding.encode(FRAME[kept].head(5)), np.ones(size), 1.0, GRAINS).any()
