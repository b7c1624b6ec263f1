"""What follows from a private run's noised sums, at the server and at every pod, to the same bit."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_app.config import RunConfig
from fl_app.errors import DataError
from fl_app.flower import names
from fl_app.privacy.descent import descended, scales_for
from fl_app.privacy.plan import MOST_CLASSES, Plan
from fl_app.replica.state import Replica
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.roster import threshold_for
from fl_app.tabular.encoding import FIRST_VALUE, Encoding, features_of
from fl_app.tabular.evaluation import Counts
from fl_app.tabular.label_counts import LABELS, LabelCounts
from fl_app.tabular.marginals import MARGINALS, Marginals, size_of
from fl_app.tabular.schema import Column, CombinedSchema
from fl_app.tabular.score_cells import PRIVATE_CELLS
from fl_app.tabular.settings import DataStructure

HONEST, ROWS, SCALES = "honest-pods", "rows", "scales"


def check_schema(plan: Plan, schema: CombinedSchema, datastructure: DataStructure) -> None:
    """Raise `DataError` if a private run cannot be made of a table: the noise's bounds were declared beforehand."""
    try:
        plan.statistics(len(features_of(schema, datastructure)))
    except ValueError as error:
        raise DataError(str(error)) from error
    if len(schema.column(datastructure.target).as_categories().values) > MOST_CLASSES:
        raise DataError(f"a private run tells at most {MOST_CLASSES} classes apart")


def relied_on(config: RunConfig, replica: Replica, pods: Collection[str]) -> int:
    """Return on how many pods the owners in a session rely, each its own included, to keep their noise to themselves.

    It is the least that any of them has declared, and one less than answer for a sum: some pod may collude.
    """
    declared: Mapping[str, int] = replica.facts[HONEST]  # type: ignore[assignment]  # as the rule has put it there
    answering = threshold_for(config.threshold, len(pods))
    return max(1, min([answering - 1, *(declared[pod] for pod in pods)]))


def scales_of(replica: Replica) -> NDArray[np.float64]:
    """Return the scale of each parameter's gradient, float64 [d]."""
    scales: Any = replica.facts[SCALES]
    return np.frombuffer(scales, "<f8") if scales else np.ones(sum(array.size for array in replica.model.values()))


def statistics_sizes(schema: CombinedSchema, datastructure: DataStructure) -> dict[str, int]:
    """Return the number of elements of each segment of the statistics."""
    target = schema.column(datastructure.target).as_categories()
    sizes = {MARGINALS: sum(map(size_of, features_of(schema, datastructure))), LABELS: LabelCounts.size(target)}
    return {names.segment(names.STATISTICS, name): size for name, size in sizes.items()}


def evaluation_sizes(classes: int) -> dict[str, int]:
    """Return the number of elements of each segment of the final evaluation."""
    without = ("positions", "together")
    arrays = Counts.zeros(classes, PRIVATE_CELLS, 0).arrays()
    counts = {name: array.size for name, array in arrays.items() if name not in without}
    counts |= {names.TEST_PREFIX + name: size for name, size in counts.items()}
    return {names.segment(names.EVALUATE, name): size for name, size in counts.items()}


def marginals_in(
    config: RunConfig, plan: Plan, replica: Replica, columns: Sequence[Column], sums: Aggregate
) -> Marginals:
    """Return the counts in the sums of the statistics."""
    counts, labels = (sums.values[names.segment(names.STATISTICS, name)] for name in (MARGINALS, LABELS))
    everyone: Any = replica.facts[HONEST]
    shares = sums.pods / relied_on(config, replica, everyone)  # each pod adds its part of the noise for so few
    deviation = plan.statistics(len(columns)).deviation * float(np.sqrt(shares))
    return Marginals.from_sums(counts, labels[FIRST_VALUE:], columns, deviation)  # those before are noise alone


def scales_in(architecture: str, encoding: Encoding, marginals: Marginals) -> bytes:
    """Return the scales of the network's parameters, in its order, little-endian float64; b"" where all are 1.

    A linear model's follow from how many rows reach each of them.
    """
    if architecture != "linear":
        return b""
    classes = len(encoding.labels)
    scales = [scales_for(counts, marginals.rows, marginals.deviation) for counts in marginals.by_code(encoding)]
    return np.repeat(np.concatenate([[1.0], *scales]), classes).astype("<f8").tobytes()


def stepped(plan: Plan, replica: Replica, number: int, sums: Aggregate) -> Replica:
    """Return the replica after a round's step of gradient descent."""
    rows: Any = replica.facts[ROWS]
    gradient = sums.values[names.UPDATE] * (sums.pods / rows)
    place = min(replica.completed + 1, plan.rounds), plan.rounds
    model, carried = descended(plan.privacy, replica.model, replica.carried, gradient, scales_of(replica), place)
    return replica.trained(number, model, carried)
