"""Classes that too few pods have: a count of their rows would be a count of those pods' rows alone.

Which pods publish a class is known to all, so whoever reads the sum knows that the others have added zeros. Rows of
such classes are counted together, right and wrong, where pods enough publish any of them; else not at all.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.evaluation import Counts, count, row_scores
from fl_app.tabular.score_cells import Edges

Way = Literal["apart", "together", "not"]
APART: Final = "apart"
TOGETHER: Final = "together"
NOT: Final = "not"
"""How the rows of a class are counted: by themselves, together with those of other classes, or not at all."""


def ways_of(publishers: Sequence[Collection[str]], adding: Collection[str], least: int) -> tuple[Way, ...]:
    """Return how the rows of each class are counted.

    Parameters
    ----------
    publishers : sequence of collections of str
        For each class the pods that publish it.
    adding : collection of str
        The pods that add to the evaluation.
    least : int
        Fewest pods that the strictest of their owners allows in a sum.
    """
    inside = [set(pods) & set(adding) for pods in publishers]
    thin = set().union(*(pods for pods in inside if len(pods) < least))
    rest: Way = TOGETHER if len(thin) >= least else NOT
    return tuple(APART if adding and len(pods) >= least else rest for pods in inside)


def counted(labels: NDArray[np.signedinteger[Any]], ways: Sequence[str]) -> NDArray[np.bool_]:
    """Say of rows with these labels, integers [n], which are counted in any way, bool [n]."""
    return np.isin(np.array(ways)[labels], (APART, TOGETHER))


def count_by(
    labels: NDArray[np.signedinteger[Any]], probabilities: NDArray[np.float64], edges: Edges | None, ways: Sequence[str]
) -> Counts:
    """Count rows as `fl_app.tabular.evaluation.count` does, those of each class as `ways_of` says.

    Parameters
    ----------
    labels : integers [n]
    probabilities : float64 [n, C]
    edges : float64 [K, cells + 1] or None
    ways : sequence of str
        For each of the C classes.
    """
    way = np.array(ways)[labels]
    apart, rest = way == APART, way == TOGETHER
    counts = count(labels[apart], probabilities[apart], edges)
    loss, brier = row_scores(labels[rest], probabilities[rest])
    right = int((probabilities[rest].argmax(axis=1) == labels[rest]).sum())
    return replace(
        counts,
        together=np.array([right, rest.sum() - right], dtype=np.int64),
        loss_sum=counts.loss_sum + float(loss.sum()),
        brier_sum=counts.brier_sum + float(brier.sum()),
    )
