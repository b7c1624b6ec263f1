import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from fl_app.errors import DataError, RunFailed, UsageError
from fl_app.tabular.evaluation import metrics_of
from fl_app.tabular.network import PiecewiseLinear, build_network, load_state, state_of
from fl_app.tabular.settings import ARCHITECTURES, DataStructure, Optimizer
from fl_app.tabular.training import _loss, evaluate, predict_proba, train

from .tables import encoding_of, shop

ADAMW = Optimizer(name="AdamW", params={"lr": 0.01})
FRAME = shop()
ENCODING = encoding_of(FRAME)
ROWS = ENCODING.encode(FRAME)
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@each_architecture
def test_a_network_is_its_arguments_alone(architecture: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (state_of(build_network(ENCODING, architecture, seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, values in one.items():
        assert_array_equal(values, same[name])
        assert values.dtype == np.float32
    drawn = any((values != other[name]).any() for name, values in one.items())
    assert drawn == (architecture not in ("linear", "additive"))  # which start at zero, whatever the seed


@each_architecture
def test_training_learns_and_repeats_itself_exactly(architecture: str) -> None:
    states = []
    for _ in range(2):
        torch.rand(1)
        network = build_network(ENCODING, architecture)
        loss = train(network, ROWS, optimizer=ADAMW, epochs=8, batch_size=64, seed=3)
        states.append(state_of(network))
    assert all((states[0][name] == states[1][name]).all() for name in states[0])
    fresh = shop(2000, seed=9)
    metrics = metrics_of(evaluate(network, ENCODING.encode(fresh)))
    assert metrics["auc"] > 0.85
    assert 0 < loss < 0.6


@each_architecture
def test_the_type_that_codes_are_kept_in_changes_nothing(architecture: str) -> None:
    assert ROWS.labels is not None
    wide = replace(ROWS, **{name: getattr(ROWS, name).astype(np.int64) for name in ("bins", "codes", "labels")})
    made = []
    for rows in (ROWS, wide):
        network = build_network(ENCODING, architecture)
        loss = train(network, rows, optimizer=ADAMW, epochs=2, batch_size=64, seed=3)
        made.append((loss, state_of(network), predict_proba(network, rows), evaluate(network, rows).arrays()))
    (loss, state, scores, counts), (other_loss, other_state, other_scores, other_counts) = made
    assert loss == other_loss
    assert_array_equal(scores, other_scores)
    assert all((state[name] == other_state[name]).all() for name in state)
    assert all((counts[name] == other_counts[name]).all() for name in counts)


def test_more_classes() -> None:
    frame = shop(1500, classes=("never", "once", "often"))
    encoding = encoding_of(frame)
    network = build_network(encoding)
    train(network, encoding.encode(frame), optimizer=ADAMW, epochs=8, batch_size=64)
    counts = evaluate(network, encoding.encode(frame))
    assert counts.confusion.shape == (3, 3)
    assert counts.histograms.shape == (3, 2, 512)
    assert metrics_of(counts)["auc"] > 0.85


@each_architecture
@pytest.mark.parametrize("features", [["age"], ["town"]])
def test_numbers_alone_and_categories_alone(architecture: str, features: list[str]) -> None:
    encoding = encoding_of(FRAME, DataStructure(target="bought", selected_cols=features))
    network = build_network(encoding, architecture)
    train(network, encoding.encode(FRAME), optimizer=ADAMW, steps=2)
    scores = predict_proba(network, encoding.encode(FRAME))
    assert_allclose(scores.sum(axis=1), 1)
    assert predict_proba(network, encoding.encode(FRAME[:0])).shape == (0, 2)


def test_a_number_fills_the_bins_below_it() -> None:
    layer = PiecewiseLinear([np.array([0.0, 1.0, 3.0, 4.0]), np.array([-1.0, 1.0])], width=1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[1.0], [10.0], [100.0]], [[1.0], [1000.0], [1000.0]]]))
    numbers = torch.tensor([[-5.0, -1.0], [0.5, 0.0], [2.0, 1.0], [9.0, 9.0]])
    expected = np.array([[0, 0], [0.5, 0.5], [6, 1], [111, 1]])
    assert_allclose(layer(numbers).detach().numpy(), expected)


def test_an_ensemble_predicts_the_mean_of_its_members() -> None:
    network = build_network(ENCODING, "tabm")
    train(network, ROWS, optimizer=ADAMW, epochs=2, batch_size=64)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    inputs = [torch.from_numpy(part) for part in (ROWS.numbers, ROWS.bins, ROWS.codes)]
    network.train()
    with torch.inference_mode():
        members = network(*inputs).softmax(2)
    assert members.std(1).max() > 1e-4  # they differ
    assert_allclose(predict_proba(network, ROWS), members.mean(1).numpy(), atol=1e-5)


def test_an_ensemble_is_taught_member_by_member() -> None:
    logits, labels = torch.randn(5, 3, 2), torch.tensor([0, 1, 1, 0, 1])
    each = [torch.nn.functional.cross_entropy(logits[:, member], labels) for member in range(3)]
    assert_allclose(_loss(logits, labels).item(), torch.stack(each).mean().item(), rtol=1e-6)


def test_no_network_keeps_running_counters() -> None:
    for architecture in ARCHITECTURES:
        network = build_network(ENCODING, architecture)
        parameters = dict(network.named_parameters())
        assert list(state_of(network)) == list(parameters)


def test_state_goes_in_by_name_or_in_order_and_must_fit() -> None:
    source, target = build_network(ENCODING, seed=1), build_network(ENCODING, seed=2)
    state = state_of(source)
    load_state(target, dict(reversed(state.items())))
    assert_array_equal(predict_proba(target, ROWS), predict_proba(source, ROWS))
    load_state(target, state_of(build_network(ENCODING, seed=2)))
    load_state(target, list(state.values()))
    assert_array_equal(predict_proba(target, ROWS), predict_proba(source, ROWS))
    with pytest.raises(DataError, match="names or number"):
        load_state(target, list(state.values())[1:])
    with pytest.raises(DataError, match="names or number"):
        load_state(target, state_of(build_network(ENCODING, "tutorial")))
    with pytest.raises(DataError, match="has shape"):
        load_state(target, list(reversed(state.values())))


def test_epochs_and_steps_count_the_same_batches() -> None:
    by_epochs, by_steps = build_network(ENCODING), build_network(ENCODING)
    batches = -(-len(ROWS) // 64)
    train(by_epochs, ROWS, optimizer=ADAMW, epochs=2, batch_size=64)
    train(by_steps, ROWS, optimizer=ADAMW, steps=2 * batches, batch_size=64)
    assert_array_equal(predict_proba(by_epochs, ROWS), predict_proba(by_steps, ROWS))


@pytest.mark.parametrize(
    ("batch_size", "least", "batches"),
    [(64, 1, -(-len(ROWS) // 64)), (1, 32, len(ROWS) // 32), (1, 10_000, 1), (1 << 20, 32, 1), (len(ROWS) - 1, 32, 2)],
)
def test_no_batch_is_of_few_rows_and_none_leaves_few_out(batch_size: int, least: int, batches: int) -> None:
    network, sizes = build_network(ENCODING), list[int]()
    network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    train(network, ROWS, optimizer=ADAMW, epochs=1, batch_size=batch_size, min_batch_rows=least)
    assert (len(sizes), sum(sizes)) == (batches, len(ROWS))
    assert max(sizes) - min(sizes) <= 1


def distance(**settings: float) -> float:
    network = build_network(ENCODING)
    start = state_of(network)
    train(network, ROWS, optimizer=Optimizer(name="SGD", params={"lr": 0.1}), epochs=2, batch_size=64, **settings)  # type: ignore[arg-type]
    moved = [values - start[name] for name, values in state_of(network).items()]
    return float(np.sqrt(sum(float(np.square(part).sum()) for part in moved)))


def test_the_proximal_term_and_the_learning_rate_factor_keep_the_network_nearer() -> None:
    assert distance(proximal_mu=5.0) < 0.8 * distance()
    assert distance(lr_factor=0.1) < 0.5 * distance()
    assert distance(lr_factor=0.0) == 0


def test_a_gradient_is_shortened_to_its_largest_norm() -> None:
    def moved(clip_norm: float | None) -> float:
        network = build_network(ENCODING)
        start = state_of(network)
        optimizer = Optimizer(name="SGD", params={"lr": 1.0}, clip_norm=clip_norm)
        train(network, ROWS, optimizer=optimizer, steps=1, batch_size=64)
        return math.sqrt(sum(float(np.square(end - start[name]).sum()) for name, end in state_of(network).items()))

    whole = moved(None)
    assert moved(whole / 4) == pytest.approx(whole / 4, rel=1e-3)
    assert moved(4 * whole) == whole
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="clip_norm"):
            Optimizer(name="SGD", clip_norm=wrong)


def test_what_cannot_be_trained_is_refused() -> None:
    network = build_network(ENCODING)
    for duration in ({}, {"epochs": 1, "steps": 1}, {"epochs": 0}, {"steps": 0}, {"epochs": 1, "batch_size": 0}):
        with pytest.raises(UsageError):
            train(network, ROWS, optimizer=ADAMW, **duration)
    for rows in (ENCODING.encode(FRAME, with_labels=False), ENCODING.encode(FRAME[:0])):
        with pytest.raises(DataError, match="no labelled row"):
            train(network, rows, optimizer=ADAMW, epochs=1)
    with pytest.raises(DataError, match="without labels"):
        evaluate(network, ENCODING.encode(FRAME, with_labels=False))
    with pytest.raises(UsageError, match="Nesterov"):
        train(network, ROWS, optimizer=Optimizer(name="SGD", params={"lr": 1, "nesterov": True}), epochs=1)
    with pytest.raises(UsageError, match="unknown architecture 'mpl'; allowed are mlp, periodic, tabm, tutorial"):
        build_network(ENCODING, "mpl")


def test_a_diverged_training_says_so() -> None:
    with pytest.raises(RunFailed, match="smaller learning rate"):
        train(build_network(ENCODING), ROWS, optimizer=Optimizer(name="SGD", params={"lr": 1e30}), epochs=5)


def test_torch_is_loaded_only_where_a_network_is() -> None:
    light = ("settings", "schema", "statistics", "encoding", "evaluation", "early_stopping")
    code = (
        "import sys\n" + "".join(f"import fl_app.tabular.{name}\n" for name in light) + "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
