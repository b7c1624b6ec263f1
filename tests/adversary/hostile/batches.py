"""Rows out of batches of the attacker's choice: settings that any modeller may give, by the product's own server."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.encoding import FIRST_VALUE, Encoding
from fl_app.tabular.settings import Optimizer
from tests.adversary.hostile.honest import State, run, settings
from tests.adversary.hostile.tables import CATEGORIES, TARGET, Pods

RATE = 1e-5
"""So small that all rounds see nearly the first network, whose logits do not depend on the row."""
Row = tuple[str, ...]


def one_row_batches(pods: Pods, rounds: int = 10) -> list[Row]:
    """Read three rows a round, one of each pod: categories and label, where each pod trains on a batch of one row.

    The linear part of the network shows for each code how much the pods whose row has it weigh, times what the row's
    label lacks to the prediction. Weights differ from pod to pod, so that a row's values are told from another's.
    """
    descent = Optimizer(name="SGD", params={"lr": RATE})
    seen = run(pods, settings(rounds=rounds, batch_size=1, local_steps=1, optimizer=descent))
    certainty = np.exp(seen.models[0]["layers.6.bias"].astype("f8"))
    lacking = (0 - certainty[1] / certainty.sum(), 1 - certainty[1] / certainty.sum())
    shown = [_gradient(seen.update(number)) for number in range(1, rounds + 1)]
    weights = _weights(np.concatenate(shown), lacking)
    return [row for each in shown for row in _rows(each, seen.encoding, weights, lacking)]


def _gradient(update: State) -> NDArray[np.float64]:
    """Return the descent of each code's part in the second logit."""
    shown: NDArray[np.float64] = update["linear.codes.table.weight"][:, 1] / RATE
    return shown


def _weights(shown: NDArray[np.float64], lacking: tuple[float, float]) -> list[float]:
    """Return the pods' shares of all rows, from the values that single rows give: about a third each."""
    shares = np.sort(np.where(shown > 0, shown / lacking[1], shown / lacking[0]))
    single = shares[(shares > 0.28) & (shares < 0.4)]
    groups = np.split(single, np.flatnonzero(np.diff(single) > 1e-3) + 1)
    return [float(np.median(group)) for group in sorted(groups, key=len, reverse=True)[:3] if len(group)]


def _rows(
    shown: NDArray[np.float64], encoding: Encoding, weights: Sequence[float], lacking: tuple[float, float]
) -> list[Row]:
    """Return a row for each pod; none if it is not clear who has what."""
    sums = [
        (labels, sum(lacking[y] * w for y, w in zip(labels, weights, strict=True) if y is not None))
        for labels in product((None, 0, 1), repeat=len(weights))
    ]
    rows = [[""] * len(encoding.categorical) for _ in weights]
    known = [0] * len(weights)
    start = 0
    for place, (column, size) in enumerate(zip(encoding.categorical, encoding.cardinalities, strict=True)):
        for code, value in enumerate(shown[start : start + size]):
            labels, nearest = min(sums, key=lambda each: abs(each[1] - value))
            if abs(nearest - value) > 1e-3:
                return []
            for pod, label in enumerate(labels):
                if label is not None:
                    rows[pod][place] = column.values[code - FIRST_VALUE] if code >= FIRST_VALUE else "?"
                    known[pod] = label
        start += size
    if not all(all(row) for row in rows):
        return []
    return [(*row, encoding.labels[label]) for row, label in zip(rows, known, strict=True)]


def true_rows(pods: Pods, rows: Sequence[Row]) -> int:
    """Count the rows read that a pod trains on, those apart of whose values one is not published."""
    table = pods.pooled("train")[[*CATEGORIES, TARGET]]
    there = set(table.itertuples(index=False, name=None))
    return sum(row in there for row in rows)
