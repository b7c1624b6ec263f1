"""Values out of the statistics: bounds, columns and labels of the server's own, and cells of few rows."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from fl_app.flower import names
from fl_app.tabular.label_counts import LABELS, LabelCounts
from fl_app.tabular.schema import Column, CombinedSchema, Schema
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import GRID_CELLS, grid
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Outcome, Run
from tests.adversary.hostile.tables import TARGET, Pods

Ask = Callable[[Run, Column, DataStructure], Outcome]


def unverified(run: Run, column: Column, datastructure: DataStructure) -> Outcome:
    """Say that nobody follows this run, and send a schema with a column of one's own, as it was before."""
    run.declare(verified=False).join()
    return in_the_request(run, column, datastructure)


def in_the_request(run: Run, column: Column, datastructure: DataStructure) -> Outcome:
    """Send a schema with a column of one's own with the request."""
    if not run.published:
        run.join()
    if run.refusals:
        return Outcome(None, run.refusals)
    target = run.schema_of("south").column(datastructure.target)
    columns = (column,) if column.name == target.name else (column, target)
    schema = CombinedSchema(name="of all", columns=columns)
    numbers = [c for c in columns if c.kind == "continuous"]
    sizes = {"moments": 3 * len(numbers), "histogram": sum(len(grid(c)) - 1 for c in numbers)}
    return run.statistics(schema, datastructure, sizes | {LABELS: LabelCounts.size(columns[-1])})


def lies_of_others(run: Run, column: Column, datastructure: DataStructure) -> Outcome:
    """Pass on as published by each pod a schema with a column of one's own."""
    run.join()
    for name, shown in run.published.items():
        own = [c for c in run.schema_of(name).columns if c.name != column.name]
        said = Schema(name=name, columns=(column, *own))
        run.published[name] = replace(shown, schema=said.to_json())
    return run.honest(names.STATISTICS)


WAYS: Mapping[str, Ask] = {way.__name__.replace("_", " "): way for way in (unverified, in_the_request, lies_of_others)}


def own_bounds(pods: Pods, way: str, column: str = "gain", below: int = 32_000) -> dict[int, int]:
    """Count the rows of each value of a column, in windows of as many whole numbers as the grid has cells for each."""
    return _windows(pods, way, column, below, optional=False)


def target_bounds(pods: Pods, way: str, column: str = "gain", below: int = 32_000) -> dict[int, int]:
    """Count the rows of each value of a column as `own_bounds` does, where the column is the target, a number."""
    return _windows(pods, way, column, below, optional=False, target=True)


def lone_target(pods: Pods, column: str) -> list[float]:
    """Return the sums of a numeric target that one pod alone has a value of: those of the others add nothing."""
    run = Run(pods, settings(datastructure=DataStructure(target=column, selected_cols=("age",)))).join()
    sums = run.honest(names.STATISTICS).values(names.STATISTICS, "moments")[-3:]
    return [float(value) for value in sums]


def optional_column(pods: Pods, way: str, column: str) -> dict[int, int]:
    """Read the values of a column that one pod has: by the server's schema it may be absent from the others."""
    return _windows(pods, way, column, 8000, optional=True)


def _windows(pods: Pods, way: str, column: str, below: int, *, optional: bool, target: bool = False) -> dict[int, int]:
    found: dict[int, int] = {}
    for low in range(0, below, GRID_CELLS - 3):
        aim = DataStructure(target=TARGET, selected_cols=(column,))
        run = Run(pods, settings(datastructure=DataStructure(target=column) if target else aim))
        window = Column(
            name=column, kind="continuous", low=low - 1, high=low + GRID_CELLS - 2, integer=True, optional=optional
        )
        outcome = WAYS[way](run, window, run.config.datastructure)
        histogram = outcome.values(names.STATISTICS, "histogram")
        # The target's is the last; the ends of a window hold all beyond.
        counts = (histogram[1 - GRID_CELLS :] if target else histogram[: GRID_CELLS - 1])[1:-1]
        found |= {low + int(place): int(counts[place]) for place in np.flatnonzero(counts)}
    return found


def own_labels(pods: Pods, way: str) -> dict[str, int]:
    """Count the rows of each age, of which no pod publishes a value: by the server's schema they are categories."""
    run = Run(pods, settings(datastructure=DataStructure(target="age")))
    ages = Column(name="age", kind="categorical", values=tuple(sorted(map(str, range(17, 91)))))
    sums = WAYS[way](run, ages, run.config.datastructure).values(names.STATISTICS, LABELS)
    counts = LabelCounts.from_sums(sums).classes if sums.size else ()
    return {value: count for value, count in zip(ages.values, counts, strict=False) if count}
