"""Bits out of refusals: a question that a pod can answer only if its rows are so, and not otherwise."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd

from fl_app.flower.names import STATISTICS, TRAIN
from fl_app.secagg.errors import ValueRefused
from tests.adversary.hostile.crafted import encoding_of, predicate
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import CLASSES, TARGET, Pods

OVERFLOW = 2e38
"""Logits of twice that differ by more than a float32 holds: the loss of a row of the other class is infinite."""


@dataclass(frozen=True)
class Bit:
    """What a refusal, or none, says of one pod: whether it has a training row above 50K with these values."""

    values: Mapping[str, Collection[float | str]]
    said: bool

    def holds(self, rows: pd.DataFrame) -> bool:
        """Say whether it is true of a table."""
        there = rows["income"] == CLASSES[1]
        for column, wanted in self.values.items():
            there &= rows[column].isin(list(wanted))
        return bool(there.any()) == self.said


def oracle(pods: Pods, victim: str, rounds: int = 15) -> list[Bit]:
    """Ask after the oldest woman above 50K of one pod, bit by bit, in the rounds of one run: a model overflows if she
    is as asked. The pod that does so tells that it could not answer.
    """
    run = Run(pods, settings(rounds=rounds)).declare(verified=False).join()
    if run.refusals:
        return []
    schema = run.schema
    encoding = encoding_of(schema, schema.column(TARGET))
    known: dict[str, Collection[float | str]] = {"sex": ("sex-01",)}
    searched = {
        "age": list(range(17, 91)),
        "occupation": list(schema.column("occupation").values),
        "education_years": list(range(1, 17)),
    }
    bits: list[Bit] = []
    for round in range(1, rounds + 1):
        column = next((name for name, left in searched.items() if len(left) > 1), "")
        if not column:
            break
        left = searched[column]
        upper = left[len(left) // 2 :]
        asked = known | {column: upper}
        outcome = run.train(round, encoding, predicate(encoding, asked, -OVERFLOW).state)
        refused = outcome.refusals.get(victim)
        if refused and refused.code != "pod-error":
            break  # it says no more than that it no longer answers
        bits.append(Bit(asked, refused is not None))
        searched[column] = upper if refused else left[: len(left) // 2]
        known |= {column: searched[column]} if len(searched[column]) == 1 else {}
    return bits


def weight_bisection(pods: Pods, victim: str, most: int = 1 << 10) -> tuple[int, int]:
    """Find a pod's number of training rows: it refuses where the declared largest weight is less.

    Returns
    -------
    tuple
        The least and the largest number that it can be, by what was learnt.
    """
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        run = Run(pods, settings(rounds=1)).declare(max_weight=middle).join()
        if run.refusals:
            break
        run.honest(STATISTICS)
        refused = run.honest(TRAIN).refusals.get(victim)
        if refused and refused.code == ValueRefused.code:
            low = middle + 1
        elif refused:
            break
        else:
            high = middle
    return low, high
