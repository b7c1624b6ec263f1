"""An audit of a run's training path: what its answers tell of rows, measured, beside what they may tell.

The attacker chooses the network, the scales and the rows. Each canary is a row with a category of its own, in the table
or blank by the toss of a coin, so that one run has many of them, as in Steinke, Nasr and Jagielski (2023), arXiv
2305.08846. Its gradient lies along one direction that no other row shares, at the clipping norm. The attacker sees the
statistics and all rounds that a pod would answer, and adds up the evidence: the best test there is against Gaussian
noise. The noise of unlike elements is independent, so that each canary is an experiment of its own.

How often canaries are told from blanks bounds rho from below. A binary test of rho-zCDP has a Renyi divergence of order
a of at most rho a, for every a > 1; Clopper and Pearson (1934) bound the two rates from the counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats

from client.app import private_answers
from fl_app.privacy.plan import SPARE_ROUNDS, Plan
from fl_app.tabular.cells import Table
from fl_app.tabular.combining import combine
from fl_app.tabular.encoding import FIRST_VALUE, Encoding, Normalisation
from fl_app.tabular.marginals import MARGINALS
from fl_app.tabular.network import build_network
from fl_app.tabular.schema import Column, Schema
from tests.adversary.privacy.answers import TARGET, stream

CANARIES = 1000
RISK = 1e-6
"""Probability with which the lower bound of one audit is above the truth."""
_ORDERS = np.array([1.1, 1.5, 2.0, 3.0, 5.0, 9.0, 17.0])
_LABEL = 1


@dataclass(frozen=True)
class Evidence:
    """What an attacker has seen of the canaries: a score for each, and which of them were there."""

    scores: NDArray[np.float64]
    there: NDArray[np.bool_]

    def lower_bound(self) -> float:
        """Return a rho that is below the true one, but for a probability of `RISK`: the best over many thresholds."""
        inside, outside = np.sort(self.scores[self.there]), np.sort(self.scores[~self.there])
        thresholds = np.quantile(self.scores, np.linspace(0.02, 0.98, 49))
        each = RISK / (4 * len(thresholds))
        best = 0.0
        for threshold in thresholds:
            hits, misses = int((inside > threshold).sum()), int((outside > threshold).sum())
            for p, q in (
                (_least(hits, len(inside), each), _most(misses, len(outside), each)),
                (_least(len(outside) - misses, len(outside), each), _most(len(inside) - hits, len(inside), each)),
            ):
                if p > q:
                    best = max(best, float((_divergence(p, q) / _ORDERS).max()))
        return best


def _least(hits: int, of: int, risk: float) -> float:
    return float(stats.beta.ppf(risk, hits, of - hits + 1)) if hits else 0.0


def _most(hits: int, of: int, risk: float) -> float:
    return float(stats.beta.ppf(1 - risk, hits + 1, of - hits)) if hits < of else 1.0


def _divergence(p: float, q: float) -> NDArray[np.float64]:
    """Return the Renyi divergences between two coins of heads with p and with q, q between 0 and 1."""
    terms = p**_ORDERS * q ** (1 - _ORDERS) + (1 - p) ** _ORDERS * (1 - q) ** (1 - _ORDERS)
    return np.asarray(np.log(terms) / (_ORDERS - 1))


def audited(plan: Plan, runs: int, seed: int) -> Evidence:
    """Return the evidence of so many runs, each with its own coins and noise, of all steps that a pod would answer."""
    parts = list(_runs(plan, runs, seed))
    return Evidence(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _runs(plan: Plan, runs: int, seed: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    texts = tuple(f"{place:05}" for place in range(CANARIES))
    columns = (
        Column(name="who", kind="categorical", values=texts),
        Column(name="y", kind="categorical", values=("no", "yes")),
    )
    schema = combine([Schema(name=name, columns=columns) for name in ("one", "two")])
    encoding = Encoding(
        target=columns[1],
        features=columns[:1],
        normalisation=Normalisation(mean=(), std=(), bins=(), cells=(), codes=()),
    )
    network = build_network(encoding, "linear", 0)
    with torch.no_grad():
        network.get_parameter("bias").copy_(torch.tensor([5.0, -5.0]))  # sure, and wrong of each canary
    # Of the bias nothing is wanted: all of the clipped norm goes into the canary's own two parameters.
    size = sum(parameter.numel() for parameter in network.parameters())
    scales = np.full(size, 1e6)
    scales[:2] = 0
    own = 2 + 2 * FIRST_VALUE + 2 * np.arange(CANARIES)
    direction = np.array([1.0, -1.0]) / np.sqrt(2)
    rng = np.random.default_rng(seed)
    for number in range(runs):
        there = rng.random(CANARIES) < 0.5
        rows = pd.DataFrame({"who": texts, "y": np.where(there, "yes", None)}).astype(object)
        rows.loc[~there, "who"] = None
        randomness = stream(seed * 1000 + number)
        counts = private_answers.statistics(plan, 1, Table.of(rows), schema, TARGET, randomness)[MARGINALS]
        scores = counts[FIRST_VALUE:] / plan.statistics(1).deviation ** 2
        encoded = encoding.encode(rows)
        for _ in range(plan.rounds + SPARE_ROUNDS):
            total = private_answers.gradient(plan, 1, network, encoded, scales, randomness)
            along = total[own] * direction[0] + total[own + 1] * direction[1]
            scores = scores + 2.0 * along / plan.gradient.deviation**2
        yield scores, there
