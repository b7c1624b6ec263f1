"""Which rows a run's headline figures and pictures are of, and what has to be said of the figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fl_app.privacy.plan import MAX_PRIVATE_LOSS
from fl_app.tabular.intervals import LEVEL
from fl_app.validation import first_of
from server.app.results import Metrics, Results
from server.display.privacy_told import noise_told
from server.display.words import measure, number, test_rows, value_told

_SHOWN = 6
_AT_THRESHOLD = ("balanced_accuracy", "accuracy", "recall", "precision", "f1")
_TOLD_ERROR = 2e-3
"""An error of the AUC is told from here on: below, it is what tests hold for any data."""


@dataclass(frozen=True)
class ScoredRows:
    """Rows on which the run's model was scored.

    Attributes
    ----------
    label : str
        Which rows they are.
    metrics : Metrics or None
        None while nothing was scored.
    confusion, histograms, edges : nested sequences
        As in `Results`; ``edges`` is empty where they are not known.
    pairs : nested sequences
        Of a numeric target: as in `RegressionResult`.
    """

    label: str
    metrics: Metrics | None
    confusion: Sequence[Sequence[int]] = ()
    histograms: Sequence[Sequence[Sequence[int]]] = ()
    edges: Sequence[Sequence[float]] = ()
    pairs: Sequence[Sequence[int]] = ()


def scored_rows(results: Results) -> ScoredRows:
    """Return the pods' test rows, or, where they add none, those of the public test file."""
    if numbers := results.regression:
        if results.test and results.no_figures:
            return ScoredRows("rows of the public test file", results.test, pairs=numbers.test_pairs)
        return ScoredRows(test_rows(results), results.final, pairs=numbers.pairs)
    if results.test and results.no_figures and results.test_confusion:
        return ScoredRows(
            "rows of the public test file", results.test, results.test_confusion, results.test_histograms,
            results.test_edges,
        )  # fmt: skip
    empty = bool(results.no_figures)
    return ScoredRows(
        test_rows(results),
        results.final,
        () if empty else results.confusion,
        () if empty else results.histograms,
        results.score_edges,
    )


def figures_told(results: Results) -> Iterator[str]:
    """Yield what has to be said of the figures: of which class, over which rows, how certain."""
    if not results.final:
        return
    if results.positive is not None:
        yield f"f1, recall and precision are of class {results.positive!r} (--positive names another)"
    elif len(results.classes) > 2:
        yield "f1, recall and precision are means over the classes (--positive names one)"
    if regression := results.regression:
        unit = f"in {measure(regression.unit)}" if regression.unit else f"in the unit of {regression.target}"
        bounds = " to ".join(value_told(end, regression.unit) for end in (regression.low, regression.high))
        yield f"mae and rmse are {unit}; values and predictions beyond {bounds} count as the nearer of the two"
    for where, metrics in ((test_rows(results), results.final), ("public test file", results.test)):
        if metrics and metrics.own:
            means = ", ".join(f"{name} {number(value)}" for name, value in metrics.own.items())
            yield f"means of the network's own metrics, {where}: {means}"
    yield from _decision(results)
    if results.no_figures:
        help_ = "" if results.test else "; a test file of your own (--test-file) gives figures without any pod's rows"
        yield f"no figures over the pods' rows: {results.no_figures}{help_}"
    yield from _whose(results)
    if results.auc_error and results.auc_error > _TOLD_ERROR:
        but = ", but for the noise" if results.private else ""
        yield f"the AUC over the pods' test rows is within {results.auc_error:.4f} of the exact one{but}"
    if results.final.intervals or (results.test and results.test.intervals):
        none = "; AUC and means over classes have none" if len(results.classes) > 2 else ""
        yield f"ranges are {LEVEL} confidence intervals by how many rows were counted{none}"
    if noise := noise_told(results.final):
        yield noise
        yield f"a row's loss counts as {MAX_PRIVATE_LOSS:g} nats at the most"


def _whose(results: Results) -> Iterator[str]:
    """Yield of which pods and classes the figures are, where not of all."""
    for part, counted in results.counted.items():
        if counted.why and not (part == "test" and results.no_figures):
            yield f"figures over the pods' {part} rows are of {counted.told}: {'; '.join(counted.why)}"
    thin = results.counted["test"].together + results.counted["test"].left_out if "test" in results.counted else ()
    rows = zip(results.classes, () if results.no_figures else results.confusion, strict=False)
    if none := [name for name, counts in rows if not sum(counts) and name not in thin]:
        yield (
            f"no test row of the pods has {'class' if len(none) == 1 else 'the classes'} "
            f"{first_of(list(map(repr, none)), _SHOWN)}: AUC and means over classes are without"
        )


def _decision(results: Results) -> Iterator[str]:
    """Yield what the decision threshold is, and the figures at it."""
    if not (decision := results.decision):
        return
    if decision.threshold is None:
        yield (
            f"no threshold was chosen (--threshold {decision.rule}): the pods' validation rows are not of both "
            "classes; rows are of their more probable class"
        )
        return
    yield (
        f"rows are taken for {results.classes[1]!r} from a score of {decision.threshold:.4f} on, the best on the pods' "
        f"validation rows (--threshold {decision.rule}); other figures are at 0.5"
    )
    for where, metrics in ((test_rows(results), decision.final), ("public test file", decision.test)):
        if metrics:
            named = [f"{name.replace('_', ' ')} {number(getattr(metrics, name))}" for name in _AT_THRESHOLD]
            yield f"at that threshold, {where}: {', '.join(named)}"
