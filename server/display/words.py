"""The words and number formats that the terminal, the notebook and the page share."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.filesize import decimal

from fl_app.tabular.dates import shown, unit_in
from fl_app.tabular.intervals import LEVEL
from fl_app.validation import first_of
from server.app.results import Metrics, Results, RoundResult

METRICS = ("accuracy", "balanced_accuracy", "auc", "f1", "recall", "precision", "brier", "loss")
NUMERIC_METRICS = ("r2", "mae", "rmse", "loss")
"""Those of a numeric target."""
PUBLIC = "public test file"
INTERVAL = f"{LEVEL} interval"
"""Label of the confidence intervals in a table of figures."""
STEPS = {
    "hello": "waiting for the pods",
    "statistics": "summing statistics",
    "train": "training round",
    "evaluate": "final evaluation",
}
"""Kind of step -> the step under way."""
TRIPS = {
    "roster": "exchanging shares",
    "consistency": "agreeing on the survivors",
    "unmask": "unmasking",
}
"""Part of a step -> the part under way."""
_SHOWN_PODS = 4
_LARGE = 1000


def number(value: float | None) -> str:
    """Return a metric with four decimals, "-" where it is not defined; of errors in the thousands with one."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < _LARGE else f"{value:,.1f}"


def metrics_named(results: Results) -> tuple[str, ...]:
    """Return the names of a run's metrics: those of classes, or of a numeric target."""
    return NUMERIC_METRICS if results.regression else METRICS


def ranges(metrics: Metrics, names: Sequence[str]) -> list[str]:
    """Return the confidence interval of each metric named, "" where it has none, and for the rows counted."""
    found = [metrics.intervals.get(name) for name in names]
    return [*("" if ends is None else interval_told(ends) for ends in found), ""]


def interval_told(ends: Sequence[float]) -> str:
    """Return both ends of an interval, as in ".829-.893" between 0 and 1, else as in "7.142 to 7.601"."""
    if all(0 <= end <= 1 for end in ends):
        return "-".join(f"{end:.3f}".removeprefix("0") for end in ends)
    return " to ".join(f"{end:.3f}" if abs(end) < _LARGE else f"{end:,.1f}" for end in ends)


def value_told(value: float, unit: str) -> str:
    """Return a number in its unit, as a date where the unit is one of dates."""
    date = unit_in(unit)
    return shown(value, date) if date else f"{value:g}"


def measure(unit: str) -> str:
    """Return the unit of differences between numbers in a unit: of dates, in days since 1970-01-01, days."""
    return unit_in(unit) or unit


class Scored(NamedTuple):
    """Metrics, of which rows they are, and, unless they are those of the run's model, of which round."""

    label: str
    metrics: Metrics
    round: RoundResult | None = None


def metrics_by_rows(results: Results) -> Iterator[Scored]:
    """Yield all metrics of a run: a round at a time, then those of the run's model.

    The rounds of a private run have those on the public test file alone, but for the last, and none without one.
    """
    for entry in results.rounds:
        if entry.evaluated or not results.private:
            yield Scored(f"round {entry.round}, validation", entry, entry)
        elif entry.test:
            yield Scored(f"round {entry.round}, {PUBLIC}", entry.test, entry)
    if results.final:
        yield Scored(f"final, {test_rows(results)}", results.final)
    if results.test:
        yield Scored(PUBLIC, results.test)


def test_rows(results: Results) -> str:
    """Return whose test rows the final figures are of: "pods' test rows", or "test rows of 2 of 3 pods"."""
    counted = results.counted.get("test")
    return f"test rows of {counted.told}" if counted and len(counted.pods) < counted.of else "pods' test rows"


def listed(pods: Sequence[str]) -> str:
    """Return the names of pods; of many only the first few."""
    return first_of(pods, _SHOWN_PODS)


def traffic(sent: int, received: int) -> str:
    """Return "3.2 MB sent, 3.1 MB received"."""
    return f"{decimal(sent)} sent, {decimal(received)} received"


def duration(seconds: float) -> str:
    """Return a length of time in words, no finer than it is known."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
