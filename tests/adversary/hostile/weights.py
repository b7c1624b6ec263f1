"""Whose row it is, out of a sum: each pod's mean of a batch counts by its own number of rows."""

from itertools import combinations_with_replacement, product
from typing import NamedTuple

import numpy as np

from fl_app.tabular.encoding import FIRST_VALUE
from fl_app.tabular.settings import Optimizer
from tests.adversary.hostile.batches import RATE
from tests.adversary.hostile.honest import run, settings
from tests.adversary.hostile.tables import PODS, Pods

BATCH, MOST, NEAR = 32, 2, 3e-6


class Named(NamedTuple):
    """One row of a batch, as the sum tells it: whose it is, its label, and one of its categories."""

    pod: str
    label: str
    column: str
    value: str


def rows_by_pod(pods: Pods) -> list[Named]:
    """Name, for each code that at most `MOST` rows of the first batches have, the pods and labels of these rows.

    The linear part of the network shows for each code a sum over its rows: of each the share of its pod in a batch,
    times what its label lacks to the prediction. The shares of three pods differ, and so few add up in one way only.
    """
    descent = Optimizer(name="SGD", params={"lr": RATE})
    seen = run(pods, settings(rounds=1, batch_size=BATCH, local_steps=1, optimizer=descent))
    shown = seen.update(1)["linear.codes.table.weight"][:, 1] / RATE
    certainty = np.exp(seen.models[0]["layers.6.bias"].astype("f8"))
    lacking = (-certainty[1] / certainty.sum(), certainty[0] / certainty.sum())
    rows = {pod: len(pods.rows(pod, "train")) for pod in PODS}
    share = {pod: rows[pod] / sum(rows.values()) / -(-rows[pod] // (rows[pod] // BATCH)) for pod in PODS}
    one_row = {(pod, label): share[pod] * lacking[label] for pod, label in product(PODS, (0, 1))}
    known = [few for size in range(1, MOST + 1) for few in combinations_with_replacement(one_row, size)]
    sums = np.array([sum(one_row[each] for each in few) for few in known])
    found, start = [], 0
    for column, size in zip(seen.encoding.categorical, seen.encoding.cardinalities, strict=True):
        for value, given in zip(column.values, shown[start + FIRST_VALUE : start + size], strict=True):
            near = np.flatnonzero(np.abs(sums - given) < NEAR)
            if len(near) == 1:
                found += [Named(pod, seen.encoding.labels[y], column.name, value) for pod, y in known[near[0]]]
        start += size
    return found
