"""The crafted network of the hostile server, in a private round: what units that fire for one row each show of it.

A pod that colludes with the server can have the others train any network. Then the noise alone stands between.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from client.app import private_answers
from fl_app.tabular.combining import combine
from fl_app.tabular.network import build_network, load_state
from fl_app.tabular.schema import schema_of
from tests.adversary.hostile.crafted import UNITS, Crafted, encoding_of
from tests.adversary.hostile.records import shaped, true_rows
from tests.adversary.hostile.tables import TARGET, table
from tests.adversary.privacy.answers import no_noise, plan, stream

COLUMNS = ["age", "hours", "occupation", "sex", TARGET]
TABLES = [table(40, seed)[COLUMNS] for seed in range(3)]
POOLED = pd.concat(TABLES, ignore_index=True)
PLAN = plan(epsilon=8.0, rounds=4)
ROUNDS = 2


def units(crafted: Crafted) -> Iterator[dict[str, int]]:
    """Yield what rows are to be looked for: each age with each occupation."""
    ages = sorted({crafted.code("age", age) for age in range(17, 91)})
    pairs = [(age, job) for age in ages for job in range(2, crafted.codes_of("occupation"))]
    known = {(crafted.code("age", row.age), crafted.code("occupation", row.occupation)) for row in POOLED.itertuples()}
    # With those first that there are: an attacker who guesses well.
    for age, job in sorted(pairs, key=lambda pair: pair not in known):
        yield {"age": age, "occupation": job}


def records_read(noise: bool) -> int:
    """Return how many rows of the pods the sums of private rounds show, with all their values and the label."""
    schema = combine([schema_of(rows, name=f"pod-{place}", min_count=1) for place, rows in enumerate(TABLES)])
    encoding = encoding_of(schema, schema.column(TARGET))
    looked_for = units(Crafted(encoding))
    found = []
    for number in range(ROUNDS):
        crafted = Crafted(encoding)
        crafted.listen(3.0)
        for unit, codes in zip(range(UNITS), looked_for, strict=False):
            crafted.fire(unit, codes)
        network = build_network(encoding, "mlp", 0)
        load_state(network, crafted.state)
        total = _sum(network, number) if noise else _exactly(network, number)
        update = shaped(-total, crafted.state)
        found += [row for unit in range(UNITS) if (row := crafted.row_in(update, unit))]
    return true_rows(found, POOLED)


def _sum(network: torch.nn.Module, number: int) -> NDArray[np.float64]:
    schema = combine([schema_of(rows, name=f"pod-{place}", min_count=1) for place, rows in enumerate(TABLES)])
    encoding = encoding_of(schema, schema.column(TARGET))
    scales = np.ones(sum(parameter.numel() for parameter in network.parameters()))
    answers = [
        private_answers.gradient(PLAN, 2, network, encoding.encode(rows), scales, stream(10 * number + place))
        for place, rows in enumerate(TABLES)
    ]
    return np.sum(answers, axis=0)


def _exactly(network: torch.nn.Module, number: int) -> NDArray[np.float64]:
    with no_noise():
        return _sum(network, number)


def test_a_crafted_network_reads_no_record_of_a_private_round() -> None:
    assert records_read(noise=True) == 0


def test_without_noise_it_does() -> None:
    assert records_read(noise=False) > 40
