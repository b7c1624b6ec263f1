"""What a pod adds to the steps of a private run: sums of whole numbers, each with its share of the noise.

Nothing here depends on the rows but through a sum that noise hides each of them in: no count is left out for being
small, nothing is refused for what the rows are, and no noise is used twice.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import UsageError
from fl_app.privacy.plan import CLIP, LOSS_GRAINS, MAX_PRIVATE_LOSS, Plan
from fl_app.privacy.shares import noised
from fl_app.secagg.noise import RandomBytes
from fl_app.tabular.encoding import FIRST_VALUE, Encoded, codes_of, features_of
from fl_app.tabular.evaluation import MAX_BRIER, count, row_scores
from fl_app.tabular.label_counts import LABELS, label_sums
from fl_app.tabular.marginals import MARGINALS, marginals_of
from fl_app.tabular.schema import CombinedSchema
from fl_app.tabular.score_cells import Edges
from fl_app.tabular.settings import DataStructure

if TYPE_CHECKING:
    from torch import nn

    from fl_app.tabular.cells import Table

Sums = dict[str, NDArray[np.float64]]


def statistics(
    plan: Plan,
    honest: int,
    training: "Table",
    schema: CombinedSchema,
    datastructure: DataStructure,
    randomness: RandomBytes | None = None,
) -> Sums:
    """Count the training rows by the values of each feature and by their label.

    A row without a label that is published is in no count, as it has no gradient: so a row that is blank adds nothing.

    Parameters
    ----------
    plan : Plan
        Of the run.
    honest : int
        Pods whose noise is relied on, see `noised`.
    training : Table
        The rows.
    schema, datastructure : CombinedSchema, DataStructure
        The columns.
    randomness : callable
        For tests; the system's otherwise.
    """
    columns = features_of(schema, datastructure)
    noise = plan.statistics(len(columns))
    target = schema.column(datastructure.target).as_categories()
    labelled = training.rows(codes_of(training, target) >= FIRST_VALUE)
    counts = {MARGINALS: marginals_of(labelled, columns), LABELS: label_sums(labelled, target)}
    return {name: noised(rows * noise.grains, noise, honest, randomness) for name, rows in counts.items()}


def gradient(
    plan: Plan,
    honest: int,
    network: "nn.Module",
    training: Encoded,
    scales: NDArray[np.float64],
    randomness: RandomBytes | None = None,
) -> NDArray[np.float64]:
    """Return the sum of the training rows' clipped gradients at a network's parameters, float64 [d]."""
    from fl_app.tabular.row_gradients import sum_of_clipped

    noise = plan.gradient
    return noised(sum_of_clipped(network, training, scales, CLIP, noise.grains), noise, honest, randomness)


def evaluation(
    plan: Plan,
    honest: int,
    network: "nn.Module",
    rows: Encoded,
    edges: Edges,
    randomness: RandomBytes | None = None,
) -> Sums:
    """Count how a network does on rows that it was not trained on, by the names of `Counts.arrays` but ``positions``.

    Parameters
    ----------
    edges : array
        float64 [classes scored, cells + 1], of the cells in which scores are counted.
    others
        As for `statistics`.
    """
    from fl_app.tabular.training import predict_proba

    whole, places = rows.in_place()
    if rows.labels is None or whole.labels is None:
        raise UsageError("rows without labels cannot be evaluated")
    # Of a model that noise has driven beyond all numbers every row is as if it were told nothing of.
    probabilities = np.nan_to_num(predict_proba(network, whole), nan=0.0)
    counts = count(rows.labels, probabilities[places], edges)
    losses, brier = (scores[places] for scores in row_scores(whole.labels, probabilities, MAX_PRIVATE_LOSS))
    scored = len(edges)
    kinds = {
        "confusion": (counts.confusion * plan.confusion.grains, plan.confusion),
        "histograms": (counts.histograms * plan.histograms(scored).grains, plan.histograms(scored)),
        "loss_sum": (_in_grains(losses), plan.loss),
        "brier_sum": (_in_grains(brier), plan.brier(MAX_BRIER)),
    }
    return {name: noised(grains.ravel(), noise, honest, randomness) for name, (grains, noise) in kinds.items()}


def _in_grains(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the sum of values in whole grains, each cut off, so that none adds more than its bound; int64 [1]."""
    grains: NDArray[np.int64] = np.floor(values * LOSS_GRAINS).astype(np.int64)
    total: NDArray[np.int64] = grains.sum(keepdims=True)
    return total
