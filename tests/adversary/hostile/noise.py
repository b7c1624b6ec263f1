"""Cells of few rows out of an honest server's statistics, asked for once or again and again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_app.flower.names import STATISTICS
from fl_app.replica.columns import schema_of
from fl_app.replica.tabular import statistics_in
from fl_app.tabular.encoding import summed_columns
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import grid
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import TARGET, Pods

QUESTIONS = (("gain",), ("gain", "age"), ("gain", "sex"), ("hours", "gain"))
"""Columns that a run learns from, each of which asks for the grid of capital gains."""


def told_apart(pods: Pods, runs: int) -> float:
    """Return how well cells of one row can be told from empty ones, by the mean of what so many runs show.

    It is the best threshold's share of such cells above it less that of empty ones: 0 for not at all, 1 for always.
    """
    shown = [_shown(pods, QUESTIONS[number % len(QUESTIONS)]) for number in range(runs)]
    mean = np.mean([cells for cells, _ in shown], axis=0)
    true = np.histogram(pods.pooled("train")["gain"], shown[0][1])[0]
    one, none = np.sort(mean[true == 1]), np.sort(mean[true == 0])
    above = [1 - np.searchsorted(part, np.unique(mean)) / len(part) for part in (one, none)]
    return float(np.max(above[0] - above[1]))


def _shown(pods: Pods, columns: tuple[str, ...]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the finest counts of capital gains that one run shows, and their edges."""
    structure = DataStructure(target=TARGET, selected_cols=columns)
    run = Run(pods, settings(datastructure=structure)).join()
    total = run.honest(STATISTICS).total
    assert total is not None
    numbers = summed_columns(schema_of(run.replica), structure)
    place = next(place for place, column in enumerate(numbers) if column.name == "gain")
    levels = list(statistics_in(total).levels(numbers))[place]
    return levels[-1], grid(numbers[place])
