"""A network of the modeller's own: what its file may define, what it may be made of, and where it starts."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn

from fl_app.errors import UsageError
from fl_app.tabular import network_source
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import metrics_of
from fl_app.tabular.network import build_network, load_state, state_of
from fl_app.tabular.network_source import MOST_BYTES, VARIABLE, check_source, digest_of, find_source, read_source
from fl_app.tabular.own_metrics import means
from fl_app.tabular.own_module import NetworkInputs, OwnNetwork, parameters_of
from fl_app.tabular.settings import OWN_ARCHITECTURE, DataStructure, Optimizer
from fl_app.tabular.thin_classes import APART, NOT
from fl_app.tabular.training import evaluate, own_sums, train

from .tables import encoding_of, shop

EXAMPLE = (Path(__file__).parents[3] / "examples" / "network.py").read_text()
FRAME = shop()
ENCODING = encoding_of(FRAME)
ROWS = ENCODING.encode(FRAME)
SGD = Optimizer(name="SGD", params={"lr": 0.1})
MADE = """
import torch
from torch import nn
class Made(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.last = nn.Linear(inputs.numbers, inputs.outputs)
        {inside}
    def forward(self, numbers, bins, codes):
        return {returned}
def build(inputs): return Made(inputs)
{after}
"""


def made(inside: str = "", returned: str = "self.last(numbers)", after: str = "") -> OwnNetwork:
    return OwnNetwork.of(MADE.format(inside=inside, returned=returned, after=after))


def built(own: OwnNetwork, encoding: Encoding = ENCODING, seed: int = 0) -> nn.Module:
    return build_network(encoding, OWN_ARCHITECTURE, seed, own)


# -- what it starts from -------------------------------------------------------------------------------------------


def test_the_example_starts_from_its_seed_alone_and_learns() -> None:
    own = OwnNetwork.of(EXAMPLE)
    own.try_out(ENCODING)
    before = torch.get_rng_state()
    one, same, other = (state_of(built(own, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, values in one.items():
        assert_array_equal(values, same[name])
        assert values.dtype == np.float32
    assert any((values != other[name]).any() for name, values in one.items())
    network = built(own)
    loss = train(network, ROWS, optimizer=SGD, epochs=20, batch_size=32, own_loss=own.loss)
    assert 0 < loss < 0.6
    fresh = ENCODING.encode(shop(2000, seed=9))
    assert metrics_of(evaluate(network, fresh))["auc"] > 0.85


def test_first_values_do_not_come_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = "self.more = nn.ModuleList([nn.Embedding(5, 3), nn.Conv1d(3, 4, 5), nn.LayerNorm(6), nn.PReLU()])"
    alone = "self.own = nn.Parameter(torch.randn(7)); self.one = nn.Parameter(torch.randn(1))"
    own = made(f"{layers}; self.attention = nn.MultiheadAttention(8, 2); {alone}")
    expected = state_of(built(own, seed=4))

    def elsewhere(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        with torch.no_grad():
            return tensor.normal_(generator=generator)

    generator = torch.Generator().manual_seed(7)
    for name in ("uniform_", "normal_", "kaiming_uniform_", "xavier_uniform_"):
        monkeypatch.setattr(nn.init, name, elsewhere)
    for name, values in state_of(built(own, seed=4)).items():
        assert_array_equal(values, expected[name], err_msg=name)


def test_what_starts_at_one_number_stays_and_the_rest_is_uniform_by_fan_in() -> None:
    layers = "nn.Embedding(200, 30), nn.Conv1d(3, 400, 5), nn.LayerNorm(6), nn.PReLU(), nn.Linear(50, 60)"
    own = made(f"self.more = nn.ModuleList([{layers}]); self.start = nn.Parameter(torch.full((3,), 0.5))")
    state = state_of(built(own))
    assert (state["more.2.weight"] == 1).all()
    assert not state["more.2.bias"].any()
    assert (state["more.3.weight"] == 0.25).all()
    assert (state["start"] == 0.5).all()
    bounds = {
        "more.0.weight": math.sqrt(3),
        "more.1.weight": 15**-0.5,
        "more.4.weight": 50**-0.5,
        "more.1.bias": 15**-0.5,
    }
    for name, bound in bounds.items():
        assert 0.9 * bound < abs(state[name]).max() <= bound, name
        assert state[name].std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_the_products_own_layers_may_be_parts_of_it() -> None:
    source = (
        "from torch import nn\nfrom fl_app.tabular.network import Columns\n"
        "class Mine(Columns):\n"
        "    def __init__(self, encoding):\n"
        "        super().__init__(encoding, periodic=True)\n"
        "        self.last = nn.Linear(self.inputs, encoding.outputs)\n"
        "    def forward(self, numbers, bins, codes):\n"
        "        return self.last(self.embed(numbers, bins, codes)) + self.linear(numbers, codes)\n"
        "def build(inputs): return Mine(inputs.encoding)\n"
    )
    own = OwnNetwork.of(source)
    own.try_out(ENCODING)
    assert not state_of(built(own))["codes.table.weight"].any()


def test_it_is_told_what_all_pods_know() -> None:
    told = NetworkInputs.of(ENCODING)
    assert (told.numbers, told.categories, told.outputs) == (2, ENCODING.cardinalities, 2)
    assert told.bins == ENCODING.bin_counts
    assert [len(edges) for edges in told.edges] == [len(edges) for edges in ENCODING.normalisation.bins]
    assert all(abs(edge) < 100 for edges in told.edges for edge in edges)
    assert told.encoding is ENCODING


# -- its loss ------------------------------------------------------------------------------------------------------


def test_a_loss_is_given_what_each_row_counts() -> None:
    plain, own = (
        made(),
        made(
            after="def loss(outputs, targets, weights):\n"
            "    losses = nn.functional.cross_entropy(outputs, targets, reduction='none')\n"
            "    return (losses * weights).mean()"
        ),
    )
    weights = np.array([0.5, 1.5])
    for given in (None, weights):
        one, two = built(plain), built(own)
        train(one, ROWS, optimizer=SGD, epochs=2, class_weights=given)
        train(two, ROWS, optimizer=SGD, epochs=2, class_weights=given, own_loss=own.loss)
        for name, values in state_of(one).items():
            np.testing.assert_allclose(values, state_of(two)[name], rtol=1e-4, atol=1e-6)


def test_a_loss_of_numbers_is_given_them_standardised() -> None:
    structure = DataStructure(target="age")
    frame = FRAME.dropna(subset="age")
    encoding = encoding_of(frame, structure)
    rows = encoding.encode(frame)
    assert encoding.numeric is not None
    plain, own = (
        made(),
        made(
            after="def loss(outputs, targets, weights):\n"
            "    return ((outputs.squeeze(1) - targets).square() * weights).mean()"
        ),
    )
    one, two = built(plain, encoding), built(own, encoding)
    own.try_out(encoding)
    train(one, rows, optimizer=SGD, epochs=2, numeric=encoding.numeric)
    train(two, rows, optimizer=SGD, epochs=2, numeric=encoding.numeric, own_loss=own.loss)
    for name, values in state_of(one).items():
        np.testing.assert_allclose(values, state_of(two)[name], rtol=1e-4, atol=1e-6)


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = ", "cannot be run: SyntaxError"),
        ("import a_module_that_is_nowhere", "cannot be run: ModuleNotFoundError: No module named 'a_module_that"),
        ("x = 1", "defines no build"),
        ("build = 1", "defines no build"),
        ("def build(inputs): ...\nloss = 3", "a loss that is no function"),
    ],
)
def test_a_file_that_defines_no_network_is_refused(source: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        OwnNetwork.of(source)


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ("self.norm = nn.BatchNorm1d(4)", "'norm.running_mean' is kept beside the parameters.*no batch norm"),
        ("self.register_buffer('steps', torch.zeros(1))", "'steps' is kept beside the parameters"),
        ("self.register_buffer('noise', torch.randn(3), persistent=False)", "buffer 'noise' is random"),
        ("self.more = nn.LazyLinear(3)", "'more.weight' has no size yet: lazy"),
        ("self.more = nn.Linear(3, 3, dtype=torch.float64)", "'more.weight' is float64, expected float32"),
        ("self.more = self.last", "'last.weight' and 'more.weight' are one parameter"),
        ("self.more = nn.Linear(2, int(2 + 3 * torch.rand(1) * 1000))", "another network each time"),
        ("self.more = 1 / 0", "build raised an error: ZeroDivisionError"),
    ],
)
def test_a_network_that_pods_cannot_average_is_refused(inside: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        built(made(inside))


def test_parameters_are_counted_without_room_for_them() -> None:
    built_size = sum(values.size for values in state_of(built(OwnNetwork.of(EXAMPLE))).values())
    assert parameters_of(EXAMPLE, ENCODING) == built_size
    least = parameters_of(MADE.format(inside="", returned="", after=""), ENCODING)
    counted = {
        "self.more = nn.Embedding(10**6, 10**6)": 10**12,
        "self.more = nn.Linear(3, int(torch.ones(4).sum()))": 16,  # looks at a number, so that it has to be built
        "self.more = nn.LazyLinear(3)": 0,
    }
    for inside, more in counted.items():
        assert parameters_of(MADE.format(inside=inside, returned="", after=""), ENCODING) == least + more, inside
    source = MADE.format(inside="", returned="self.last(numbers) + STEPS.sum()", after="STEPS = torch.arange(3.0)")
    parameters_of(source, ENCODING)
    OwnNetwork.of(source).try_out(ENCODING)  # nothing is left of the tensors without numbers
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        parameters_of(MADE.format(inside="1 / 0", returned="", after=""), ENCODING)


def test_a_network_without_parameters_or_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="has no parameters"):
        built(OwnNetwork.of("from torch import nn\ndef build(inputs): return nn.ReLU()"))
    with pytest.raises(UsageError, match="build returned int"):
        built(OwnNetwork.of("def build(inputs): return 3"))
    with pytest.raises(UsageError, match="its source was not given"):
        build_network(ENCODING, OWN_ARCHITECTURE)


def metric(bounds: str, values: str) -> str:
    return f"METRICS = {bounds}\ndef metrics(outputs, targets): return {values}"


def test_own_metrics_are_sums_of_what_rows_have_within_their_bounds() -> None:
    first = "'first': outputs[:, 0], 'large': outputs[:, 0] + 9"
    loss = "'loss': torch.nn.functional.cross_entropy(outputs, targets, reduction='none')"
    values = f"{{'sure': outputs.softmax(1).amax(1), {first}, 'odd': targets / 0 * 0, {loss}}}"
    bounds = "{'first': (-0.25, 0.5), 'sure': (0, 1), 'odd': (2, 3), 'large': (-1, 4), 'loss': (0, 9)}"
    own = made(after=metric(bounds, values))
    own.try_out(ENCODING)
    assert own.metrics is not None
    network = built(own, seed=3)
    with torch.no_grad():
        outputs = network(*(torch.from_numpy(part) for part in (ROWS.numbers, ROWS.bins, ROWS.codes))).double().numpy()
    sums = own_sums(network, ROWS, own.metrics)
    assert (sums / len(ROWS)).min() > 0 or sums[2] == 0
    found = means(own.metrics.bounds, sums.tolist(), len(ROWS))
    assert ROWS.labels is not None
    chances = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    assert found == {
        "first": pytest.approx(outputs[:, 0].clip(-0.25, 0.5).mean(), abs=1e-6),
        "sure": pytest.approx(chances.max(axis=1).mean(), abs=1e-6),
        "odd": 2.0,  # which is no number of any row
        "large": 4.0,
        "loss": pytest.approx(-np.log(chances[np.arange(len(ROWS)), ROWS.labels]).mean(), abs=1e-6),
    }
    assert outputs[:, 0].min() < -0.25
    assert outputs[:, 0].max() > 0.5
    some = own_sums(network, ROWS, own.metrics, ways=[APART, NOT])
    kept = ROWS.labels == 0
    assert some[0] * 0.75 - 0.25 * kept.sum() == pytest.approx(outputs[kept, 0].clip(-0.25, 0.5).sum(), abs=1e-4)
    assert means(own.metrics.bounds, [0.0] * 5, 0)["first"] is None


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ("METRICS = {'a': (0, 1)}", "needs both, METRICS"),
        ("def metrics(outputs, targets): ...", "needs both, METRICS"),
        (metric("{f'm{i}': (0, 1) for i in range(9)}", "{}"), "declares 9 METRICS, expected 1 to 8"),
        (metric("{}", "{}"), "declares 0 METRICS"),
        (metric("{'A': (0, 1)}", "{}"), "small letters"),
        (metric("{'a': (1, 1)}", "{}"), "two finite numbers"),
        (metric("{'a': (0, float('inf'))}", "{}"), "two finite numbers"),
        (metric("{'a': (0, 10**400)}", "{}"), "two finite numbers"),
        (metric("{'a': (-1e308, 1e308)}", "{}"), "two finite numbers"),
        (metric("{'a': 3}", "{}"), "two finite numbers"),
        (metric("{'a': (0, 1)}", "{}"), "returns a dictionary of a"),
        (metric("{'a': (0, 1)}", "{'a': outputs}"), "gives no tensor"),
        (metric("{'a': (0, 1)}", "{'a': outputs[0, 0]}"), "gives no tensor"),
        (metric("{'a': (0, 1)}", "1 / 0"), "raised an error: ZeroDivisionError"),
    ],
)
def test_own_metrics_that_cannot_be_summed_are_refused(after: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        made(after=after).try_out(ENCODING)


@pytest.mark.parametrize(
    ("returned", "after", "why"),
    [
        ("self.last(codes.float())[0]", "", r"returned \[2\] for 3 rows, expected \[3, 2\]"),
        ("self.last(numbers).argmax(1)", "", "no tensor of floats"),
        ("(self.last(numbers),)", "", "no tensor of floats"),
        ("self.last(numbers[:, :1])", "", "raised an error: RuntimeError"),
        ("self.last(numbers)[:, :1] if self.training else self.last(numbers)", "", r"\[3, 1\] in training"),
        ("self.last(numbers)", "def loss(outputs, targets, weights): return outputs[:, 0]", "loss.*raised an error"),
        ("self.last(numbers)", "def loss(outputs, targets): return outputs.sum()", "loss.*raised an error: TypeError"),
        ("self.last(numbers)", "def loss(outputs, targets, weights): return outputs.sum().reshape(1)", "expected one"),
    ],
)
def test_what_would_fail_at_every_pod_is_found_first(returned: str, after: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        made(returned=returned, after=after).try_out(ENCODING)


def test_members_of_an_ensemble_are_allowed_in_training() -> None:
    returned = "self.last(numbers).unsqueeze(1).repeat(1, 4, 1) if self.training else self.last(numbers)"
    own = made(returned=returned)
    own.try_out(ENCODING)
    assert 0 < train(built(own), ROWS, optimizer=SGD, epochs=1) < 2


def test_a_state_is_loaded_by_name() -> None:
    own = made()
    network = built(own, seed=1)
    load_state(network, state_of(built(own, seed=2)))
    assert_array_equal(state_of(network)["last.weight"], state_of(built(own, seed=2))["last.weight"])


# -- its file ------------------------------------------------------------------------------------------------------


def test_the_bundles_file_goes_before_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, bundled = tmp_path / "network.py", tmp_path / "own_network.py"
    named.write_bytes(b"x = 1\r\n")
    monkeypatch.setattr(network_source, "__file__", str(tmp_path / "network_source.py"))
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UsageError, match="the app here has none"):
        find_source(digest_of("x = 1\r\n"))
    monkeypatch.setenv(VARIABLE, str(named))
    assert find_source(digest_of("x = 1\r\n")) == "x = 1\r\n"
    bundled.write_text("x = 2\n")
    assert find_source(digest_of("x = 2\n")) == "x = 2\n"
    with pytest.raises(UsageError, match=f"sha256 {digest_of('x = 2' + chr(10))[:12]}"):
        find_source(digest_of("x = 1\r\n"))


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_source(tmp_path / "none.py")
    (tmp_path / "latin.py").write_bytes(b"# \xe4")
    with pytest.raises(UsageError, match="in UTF-8"):
        read_source(tmp_path / "latin.py")
    (tmp_path / "large.py").write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(UsageError, match="at most 256 KiB"):
        read_source(tmp_path / "large.py")
    with pytest.raises(UsageError, match="is asked for"):
        check_source("x", digest_of("y"))
