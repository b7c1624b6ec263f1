import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from fl_app.privacy.descent import LEAST_SCALE, MOMENTUM, MOST_SCALE, descended, rate_for, scales_for
from fl_app.privacy.settings import Privacy

PRIVACY = Privacy(epsilon=3)
MODEL = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([0.5, -0.5], np.float32)}
SCALES = np.array([1.0, 0.5, 2.0, 1.0, 3.0, 0.3, 1.0, 1.0])


def gradients(steps: int) -> list[np.ndarray]:
    return list(np.random.default_rng(3).normal(size=(steps, 8)))


def followed(steps: int) -> list[dict[str, np.ndarray]]:
    model, carried, made = dict(MODEL), {}, []
    for place, gradient in enumerate(gradients(steps), 1):
        model, carried = descended(PRIVACY, model, carried, gradient, SCALES, (place, steps))
        made.append(model)
    return made


def test_steps_are_those_of_torch_with_momentum_in_scaled_coordinates() -> None:
    # W = S w: a step on w along its gradient moves W by S times that.
    start = np.concatenate([array.ravel() for array in MODEL.values()])
    scaled = torch.tensor(start / SCALES, requires_grad=True)
    optimizer = torch.optim.SGD([scaled], lr=rate_for(PRIVACY), momentum=MOMENTUM)
    for gradient, model in zip(gradients(9), followed(9)[:-1], strict=False):
        scaled.grad = torch.tensor(gradient)
        optimizer.step()
        expected = scaled.detach().numpy() * SCALES
        assert_allclose(np.concatenate([array.ravel() for array in model.values()]), expected, rtol=1e-5, atol=1e-5)
        assert {array.dtype for array in model.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_the_last_model_is_the_mean_over_the_second_half_of_the_steps(steps: int) -> None:
    made = followed(steps)
    model, carried = dict(MODEL), {}
    path = []
    for place, gradient in enumerate(gradients(steps), 1):  # a longer run, of which these are the first steps
        model, carried = descended(PRIVACY, model, carried, gradient, SCALES, (place, 10 * steps))
        path.append(model)
    for name, array in made[-1].items():
        half = [step[name].astype(np.float64) for step in path[steps // 2 :]]
        assert_allclose(array, np.mean(half, axis=0), rtol=1e-6)


def test_scales_are_one_at_a_tenth_of_the_rows_and_small_where_there_may_be_none() -> None:
    counts = np.array([10_000, 1000, 250, 10, 0, -7])
    scales = scales_for(counts, 10_000, deviation=10.0)
    assert_array_equal(scales, [np.sqrt(0.1), 1.0, 2.0, LEAST_SCALE, LEAST_SCALE, LEAST_SCALE])
    assert scales_for(np.array([25]), 10_000, deviation=10.0) == [MOST_SCALE]
