"""Rows out of evaluations: confusion matrices and score cells as counters of chosen predicates."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from fl_app.flower import names
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.score_cells import SCORE_CELLS
from fl_app.tabular.settings import DataStructure
from tests.adversary.hostile.crafted import Crafted, encoding_of, predicate
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Outcome, Run
from tests.adversary.hostile.tables import TARGET, Pods


def of_classes(pods: Pods, target: str) -> dict[str, NDArray[Any]]:
    """Return an evaluation's confusion matrix, and the rows right and wrong of all classes that few pods have."""
    run = Run(pods, settings(rounds=1, datastructure=DataStructure(target=target))).join()
    run.honest(names.STATISTICS)
    outcome = run.honest(names.EVALUATE)
    return {name: outcome.values(names.EVALUATE, name) for name in ("confusion", "together")}


def lone_numbers(pods: Pods, target: str) -> NDArray[Any]:
    """Return the errors over a numeric target that one pod alone has rows enough of: the others add zeros."""
    run = Run(pods, settings(rounds=1, datastructure=DataStructure(target=target, selected_cols=("age",)))).join()
    run.honest(names.STATISTICS)
    return run.honest(names.EVALUATE).values(names.EVALUATE, "errors")


def unverified(pods: Pods) -> tuple[Run, Encoding | None]:
    """Begin a run that nobody follows, with an encoding of one's own."""
    run = Run(pods, settings(rounds=1)).declare(verified=False).join()
    return run, None if run.refusals else encoding_of(run.schema, run.schema.column(TARGET))


def earlier_round(pods: Pods) -> tuple[Run, Encoding | None]:
    """Train two rounds, so that the model of the first may be asked for."""
    run = Run(pods, settings(rounds=2)).join()
    run.honest(names.STATISTICS)
    run.honest(names.TRAIN, 1)
    run.honest(names.TRAIN, 2)
    return run, Encoding.from_json(str(run.replica.facts["encoding"]))


WAYS = {"unverified": unverified, "a model of an earlier round": earlier_round}


def counted(pods: Pods, way: str, values: Mapping[str, Collection[float | str]]) -> dict[str, int]:
    """Count the validation rows with these values, by label: a network predicts the second class for them alone."""
    run, encoding = WAYS[way](pods)
    if encoding is None:
        return {}
    confusion = evaluated(run, predicate(encoding, values, 4.0)).values(names.EVALUATE, "confusion")
    return dict(zip(encoding.labels, confusion.reshape(2, 2)[:, 1].tolist(), strict=True)) if confusion.size else {}


def score_cells(pods: Pods, way: str) -> dict[tuple[int, str, str], int]:
    """Count rows by age, sex and label in one evaluation: a row's score is its age and sex, and each has its cell.

    Returns
    -------
    dict
        The number of validation rows of each age, sex and label that there are.
    """
    run, encoding = WAYS[way](pods)
    if encoding is None:
        return {}
    sexes = next(column for column in encoding.features if column.name == "sex").values
    pairs = [(age, sex) for age in range(17, 91) for sex in sexes]
    places = np.linspace(-6, 6, len(pairs))
    # Ends half-way between the scores, in log-odds; the cells that are left over lie behind them.
    ends = np.full(SCORE_CELLS + 1, 37.0, dtype="<f4")
    ends[0], ends[1 : len(pairs)] = -700, (places[:-1] + places[1:]) / 2
    by_age = {age: float(places[2 * i]) for i, age in enumerate(range(17, 91))}
    crafted = _scored(encoding, by_age, sexes[1], places)
    histograms = evaluated(run, crafted, **{names.SCORE_EDGES: ends.tobytes()}).values(names.EVALUATE, "histograms")
    if not histograms.size:
        return {}
    return {
        (*pairs[cell], encoding.labels[label]): int(count)
        for label, row in enumerate(histograms.reshape(2, SCORE_CELLS))
        for cell, count in enumerate(row[: len(pairs)])
        if count
    }


def evaluated(run: Run, crafted: Crafted, **said: Any) -> Outcome:
    """Ask for the evaluation of a model: as it was before, or as one that the pods know of."""
    if not run.parameters.verified:
        return run.evaluate(crafted.encoding, crafted.state, **said)
    content = run.content(crafted.encoding, crafted.state, {names.MODEL_ROUND: 1, **said})
    sizes = run.rule.sizes(run.settings, run.replica, names.EVALUATE)
    return run.step(names.EVALUATE, 1, RecordDict(dict(content)), sizes)


def _scored(encoding: Encoding, by_age: Mapping[int, float], sex: str, places: NDArray[np.float64]) -> Crafted:
    """Return a network whose second logit is what its age says, and one step more for one sex."""
    crafted = Crafted(encoding)
    state = crafted.state = crafted.blank()
    reach = float(-places[0]) + 1
    _, start = crafted.table("age")
    for age, score in by_age.items():
        state["bins.table.weight"][start + crafted.code("age", age), 0] = score + reach
    _, start = crafted.table("sex")
    state["codes.table.weight"][start + crafted.code("sex", sex), 0] = places[1] - places[0]
    for column in ("age", "sex"):
        state["layers.0.weight"][:, crafted.starts[column]] = 1
    state["layers.3.weight"][...] = 1 / len(state["layers.0.bias"])
    state["layers.6.weight"][1] = 1 / len(state["layers.3.bias"])
    state["layers.6.bias"][1] = -reach
    return crafted
