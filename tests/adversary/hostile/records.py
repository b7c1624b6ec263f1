"""Complete rows out of sums: each hidden unit fires for one rare combination, and its gradient is the row."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_app.flower.names import STATISTICS, TRAIN
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.settings import Optimizer
from tests.adversary.hostile.crafted import UNITS, Crafted, encoding_of
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Outcome, Run
from tests.adversary.hostile.tables import TARGET, Pods

Row = dict[str, Any]
Round = Callable[[Run, int, Crafted], Outcome]
"""Brings a crafted model to the pods, in a round of a run, and has them train it."""
COLUMNS = ("age", "occupation", "sex")
MANY = 60
"""A unit fires for one combination of these, of the first two where there are so many ages."""


def crafted_model(pods: Pods, way: str, rounds: int = 4) -> tuple[list[Row], set[str]]:
    """Read rows with their labels: one step over all rows, of a network whose units fire for rare combinations.

    A unit's weight gradient over its bias gradient is the row that alone has made it fire.

    Returns
    -------
    tuple
        The rows read, and why pods refused.
    """
    config = settings(rounds=rounds + 1, optimizer=Optimizer(name="SGD", params={"lr": 1e4}))
    run, found, why = Run(pods, config), list[Row](), set[str]()
    encoding, bring = WAYS[way](run)
    if encoding is None:
        return [], {refused.text for refused in run.refusals.values()}
    units = _units(encoding)
    for round in range(2, rounds + 2):
        crafted = Crafted(encoding)
        crafted.listen()
        for unit, codes in zip(range(UNITS), units, strict=False):
            crafted.fire(unit, codes)
        outcome = bring(run, round, crafted)
        why |= {refused.text for refused in outcome.refusals.values()}
        if outcome.total is None:
            break
        update = shaped(outcome.total.values["update"], crafted.state)
        found += [row for unit in range(UNITS) if (row := crafted.row_in(update, unit))]
    return found, why


def _units(encoding: Encoding) -> Iterator[dict[str, int]]:
    """Yield combinations of codes, each once, in no order."""
    crafted = Crafted(encoding)
    ages = sorted({crafted.code("age", age) for age in range(17, 91)})
    columns = COLUMNS[: 2 if len(ages) > MANY else 3]
    others = [range(2, crafted.codes_of(column)) for column in columns[1:]]
    combinations = list(product(ages, *others))
    for place in np.random.default_rng(3).permutation(len(combinations)):
        yield dict(zip(columns, combinations[place], strict=True))


# -- the ways in which a model may reach the pods ---------------------------------------------------------------------

Way = Callable[[Run], tuple[Encoding | None, Round]]


def unverified(run: Run) -> tuple[Encoding | None, Round]:
    """Say that nobody follows this run, and send the model with the request, as it was before."""
    run.declare(verified=False).join()
    encoding = None if run.refusals else encoding_of(run.schema, run.schema.column(TARGET))
    return encoding, lambda run, round, crafted: run.train(round, crafted.encoding, crafted.state)


def in_the_request(run: Run) -> tuple[Encoding | None, Round]:
    """Send the model with the request of a run that the pods follow."""
    return followed(run), lambda run, round, crafted: run.train(round, crafted.encoding, crafted.state)


def forged_sum(run: Run) -> tuple[Encoding | None, Round]:
    """Show a sum of the round before that makes the model."""

    def bring(run: Run, round: int, crafted: Crafted) -> Outcome:
        before = run.asked.model
        wanted = [np.ravel(crafted.state[name].astype("f8") - before[name]) for name in before]
        run.forge(np.concatenate(wanted))
        return run.honest(TRAIN, round)

    return trained_once(run), bring


def other_replica(run: Run) -> tuple[Encoding | None, Round]:
    """Take from all pods what they have followed, and send them the model as what the others have."""

    def bring(run: Run, round: int, crafted: Crafted) -> Outcome:
        run.pods.forget_replicas()
        run.replica = replace(run.replica, model=crafted.state)
        run.sent_replica, run.proof = run.replica.to_bytes(), None
        run.join()
        return Outcome(None, run.refusals) if run.refusals else run.honest(TRAIN, round)

    return trained_once(run), bring


def in_another_run(run: Run) -> tuple[Encoding | None, Round]:
    """Send the model in a run that resumes the one that the pods have followed."""

    def bring(run: Run, round: int, crafted: Crafted) -> Outcome:
        resumed = Run(run.pods, run.config, run.parameters.series)
        resumed.replica = replace(run.replica, model=crafted.state)
        resumed.sent_replica = resumed.replica.to_bytes()
        resumed.join()
        return Outcome(None, resumed.refusals) if resumed.refusals else resumed.honest(TRAIN, round)

    return trained_once(run), bring


WAYS: Mapping[str, Way] = {
    way.__name__.replace("_", " "): way
    for way in (unverified, in_the_request, forged_sum, other_replica, in_another_run)
}


def followed(run: Run) -> Encoding | None:
    """Ask for the statistics as anybody does, and return the encoding that follows."""
    outcome = run.join().honest(STATISTICS)
    return None if outcome.total is None else Encoding.from_json(str(run.replica.facts["encoding"]))


def trained_once(run: Run) -> Encoding | None:
    """Ask for the first round too."""
    encoding = followed(run)
    if encoding is None or run.honest(TRAIN, 1).total is None:
        return None
    return encoding


def shaped(update: NDArray[Any], state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a flat update as the arrays of a network."""
    cuts = np.cumsum([array.size for array in state.values()])[:-1]
    return {
        name: part.reshape(array.shape)
        for (name, array), part in zip(state.items(), np.split(update, cuts), strict=True)
    }


def true_rows(found: list[Row], table: pd.DataFrame) -> int:
    """Count the different rows read that stand in a table in every attribute."""
    there = set(table.astype(str).itertuples(index=False, name=None))
    read = {tuple(str(round(v)) if isinstance(v, float) else str(v) for v in (row[c] for c in table)) for row in found}
    return len(read & there)
