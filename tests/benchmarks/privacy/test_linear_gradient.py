"""The study's quick way to a linear network's gradients gives the sums of the product's own."""

import numpy as np
import pytest
import torch

from benchmarks.joining.rows import CATEGORICAL, Row, table_of
from benchmarks.joining.splits import TARGET
from benchmarks.privacy.linear_gradient import QuickGradient, sum_of_clipped
from fl_app.privacy.plan import CLIP, Plan
from fl_app.privacy.settings import Privacy
from fl_app.tabular import row_gradients
from fl_app.tabular.encoding import Encoded, Encoding, statistic_sums
from fl_app.tabular.network import Linear, build_network
from fl_app.tabular.schema import schema_of
from fl_app.tabular.settings import DataStructure

GRAINS = 1 << 13


def encoded() -> tuple[Encoding, Encoded]:
    table = table_of(Row("iid", 2, rows=900))
    schema, structure = (
        schema_of(table, name="a", force_stypes={"categorical": CATEGORICAL}),
        DataStructure(target=TARGET),
    )
    encoding = Encoding.of(schema, structure, statistic_sums(table, schema, structure))
    return encoding, encoding.encode(table)


@pytest.mark.parametrize("size", [0.0, 0.1, 3.0])
def test_it_is_the_products_sum(size: float) -> None:
    encoding, rows = encoded()
    network, rng = build_network(encoding, "linear"), np.random.default_rng(0)
    assert isinstance(network, Linear)
    for parameter in network.parameters():
        drawn = rng.normal(0, size, tuple(parameter.shape)).astype(np.float32)
        parameter.detach().copy_(torch.from_numpy(drawn))
    scales = rng.uniform(0.3, 3, sum(parameter.numel() for parameter in network.parameters()))
    own = sum_of_clipped(network, rows, scales, CLIP, GRAINS)
    product = row_gradients.sum_of_clipped(network, rows, scales, CLIP, GRAINS)
    assert np.abs(product).max() > 100 * GRAINS * (size < 1)
    # A slope that is rounded otherwise may cross a whole number here and there.
    assert np.abs(own - product).max() <= 2


def test_an_answer_is_the_sum_and_a_pods_share_of_the_noise() -> None:
    encoding, rows = encoded()
    network, plan, honest = build_network(encoding, "linear"), Plan(Privacy(epsilon=1.0), 80), 2
    assert isinstance(network, Linear)
    scales = np.ones(sum(parameter.numel() for parameter in network.parameters()))
    quick = QuickGradient(np.random.default_rng(0).bytes)
    exact = sum_of_clipped(network, rows, scales, CLIP, plan.gradient.grains) / plan.gradient.grains
    noise = np.array([quick(plan, honest, network, rows, scales) - exact for _ in range(200)])
    assert len(np.unique(noise)) > 0.9 * noise.size  # no share is used twice
    expected = plan.gradient.deviation / honest**0.5
    assert noise.std() == pytest.approx(expected, rel=5 / (2 * noise.size) ** 0.5)
    assert abs(noise.mean()) < 5 * expected / noise.size**0.5


def test_other_networks_are_refused() -> None:
    encoding, rows = encoded()
    quick = QuickGradient(np.random.default_rng(0).bytes)
    with pytest.raises(TypeError, match="linear"):
        quick(Plan(Privacy(epsilon=1.0), 80), 1, build_network(encoding, "mlp"), rows, np.ones(3))
