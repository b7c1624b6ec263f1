"""What pods answer in a private run, without messages: tables, networks, and answers with known noise or none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from client.app import private_answers
from fl_app.privacy.plan import Noise, Plan
from fl_app.privacy.settings import Privacy
from fl_app.secagg.noise import RandomBytes
from fl_app.tabular.cells import Table
from fl_app.tabular.combining import combine
from fl_app.tabular.encoding import Encoding, features_of
from fl_app.tabular.evaluation import MAX_BRIER, scored_classes
from fl_app.tabular.marginals import marginals_of
from fl_app.tabular.network import build_network
from fl_app.tabular.schema import Column, CombinedSchema, Schema
from fl_app.tabular.score_cells import edges_of, even_ends
from fl_app.tabular.settings import DataStructure

TARGET = DataStructure(target="y")
COLUMNS = (
    Column(name="age", kind="continuous", low=0.0, high=64.0, integer=True),
    Column(name="gain", kind="continuous", low=-1e6, high=1e6),
    Column(name="town", kind="categorical", values=("Aachen", "Bonn", "Celle")),
    Column(name="y", kind="categorical", values=("no", "yes")),
)
SCHEMA: CombinedSchema = combine([Schema(name=name, columns=COLUMNS) for name in ("one", "two")])
BLANK: Mapping[str, Any] = {"age": None, "gain": None, "town": None, "y": None}
"""A row of which nothing is left but its place."""


def plan(epsilon: float = 8.0, rounds: int = 4) -> Plan:
    """Return the plan of a run at delta 1e-5."""
    return Plan(Privacy(epsilon=epsilon), rounds)


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table of the columns above."""
    frame = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    return frame.astype({"age": float, "gain": float, "town": object, "y": object})


def people(rows: int, seed: int) -> pd.DataFrame:
    """Return so many rows at random."""
    rng = np.random.default_rng(seed)
    return table(
        [
            {
                "age": int(rng.integers(0, 65)),
                "gain": float(rng.normal(0, 1e4)),
                "town": str(rng.choice(COLUMNS[2].values)),
                "y": str(rng.choice(COLUMNS[3].values)),
            }
            for _ in range(rows)
        ]
    )


def encoding() -> Encoding:
    """Return an encoding that private statistics make: of two thousand rows, without noise."""
    from fl_app.tabular.marginals import Marginals

    columns = features_of(SCHEMA, TARGET)
    counted = marginals_of(Table.of(people(2000, 0)), columns).astype(float)
    return Marginals.from_sums(counted, np.array([1000.0, 1000.0]), columns, 1.0).encoding(SCHEMA, TARGET, 20)


ENCODING = encoding()
EDGES = edges_of(even_ends(scored_classes(2)))


def network(architecture: str, parameters: float = 0.0, seed: int = 0) -> torch.nn.Module:
    """Return a network, its parameters drawn at random so large; 0: as it starts."""
    made = build_network(ENCODING, architecture, 0)
    if parameters:
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.copy_(torch.from_numpy(rng.normal(0, 1, tuple(parameter.shape))) * parameters)
    return made


def size_of(made: torch.nn.Module) -> int:
    """Return how many parameters a network has."""
    return sum(parameter.numel() for parameter in made.parameters())


def stream(number: int) -> RandomBytes:
    """Return random bytes that are the same in every run of the tests."""
    cipher = Cipher(AES256(number.to_bytes(32, "big")), CTR(bytes(16))).encryptor()
    return lambda size: cipher.update(bytes(size))


@contextmanager
def no_noise() -> Iterator[list[tuple[Fraction, int]]]:
    """Have pods draw zeros; gives the variances that they ask for, each with a number of draws."""
    asked: list[tuple[Fraction, int]] = []

    def zeros(variance: Fraction, size: int, randomness: RandomBytes | None = None) -> NDArray[np.int64]:
        asked.append((variance, size))
        return np.zeros(size, np.int64)

    with mock.patch("fl_app.privacy.shares.discrete_gaussian", zeros):
        yield asked


Grains = dict[str, NDArray[np.int64]]
"""Answers by name, in whole grains."""


def noises(of: Plan) -> dict[str, Noise]:
    """Return the noise of each sum of a run over `COLUMNS`, by the sum's name."""
    return {
        "marginals": of.statistics(3),
        "labels": of.statistics(3),
        "gradient": of.gradient,
        "confusion": of.confusion,
        "histograms": of.histograms(scored_classes(2)),
        "loss_sum": of.loss,
        "brier_sum": of.brier(MAX_BRIER),
    }


def statistics(of: Plan, rows: pd.DataFrame, honest: int = 2, randomness: RandomBytes | None = None) -> Grains:
    """Return what a pod answers to the statistics step of these training rows."""
    given = private_answers.statistics(of, honest, Table.of(rows), SCHEMA, TARGET, randomness)
    return _whole(of, given)


def gradient(
    of: Plan, rows: pd.DataFrame, made: torch.nn.Module, honest: int = 2, randomness: RandomBytes | None = None
) -> Grains:
    """Return what a pod answers to a round of training of these rows."""
    scales = np.ones(size_of(made))
    return _whole(
        of, {"gradient": private_answers.gradient(of, honest, made, ENCODING.encode(rows), scales, randomness)}
    )


def evaluation(
    of: Plan, rows: pd.DataFrame, made: torch.nn.Module, honest: int = 2, randomness: RandomBytes | None = None
) -> Grains:
    """Return what a pod answers to the evaluation of these held-out rows."""
    return _whole(of, private_answers.evaluation(of, honest, made, ENCODING.encode(rows), EDGES, randomness))


def _whole(of: Plan, given: Mapping[str, NDArray[np.float64]]) -> Grains:
    grains = {name: given[name] * noises(of)[name].grains for name in given}
    for name, values in grains.items():
        assert (values == np.rint(values)).all(), f"{name} is not of whole grains"
    return {name: values.astype(np.int64) for name, values in grains.items()}
