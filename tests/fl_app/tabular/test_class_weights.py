"""Weights by class: what they are, and that training on weighted rows is training on repeated ones."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from fl_app.tabular.class_weights import FEWEST, balanced
from fl_app.tabular.training import _loss


def test_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [400, 25, 75])
    exact = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced([400, 25, 75]) == pytest.approx(exact)
    assert (balanced([400, 25, 75])[labels]).mean() == pytest.approx(1.0)


def test_a_class_of_which_noise_left_nothing_weighs_no_more_than_one_of_the_fewest_rows() -> None:
    assert balanced([990, 0]) == pytest.approx(balanced([990, FEWEST]))
    assert np.isfinite(balanced([0, 0])).all()


@pytest.mark.parametrize("members", [None, 3])
def test_a_weight_of_two_is_a_row_twice(members: int | None) -> None:
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn((6, 2) if members is None else (6, members, 2), generator=rng)
    labels = torch.tensor([0, 1, 0, 0, 1, 0])
    twice = torch.cat([torch.arange(6), torch.tensor([1, 4])])
    weighted = _loss(logits, labels, torch.tensor([1.0, 2.0]))
    assert weighted.item() == pytest.approx(_loss(logits[twice], labels[twice]).item() * 8 / 6, rel=1e-5)
    flat = logits.flatten(0, -2)
    assert _loss(logits, labels).item() == pytest.approx(
        nn.functional.cross_entropy(flat, labels.repeat_interleave(len(flat) // 6)).item()
    )
