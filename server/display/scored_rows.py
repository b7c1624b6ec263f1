"""Which rows a run's headline figures and pictures are of, and what has to be said of the figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fl_app.privacy.plan import MAX_PRIVATE_LOSS
from server.app.results import Metrics, Results
from server.display.privacy_told import noise_told

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
    """

    label: str
    metrics: Metrics | None
    confusion: Sequence[Sequence[int]] = ()
    histograms: Sequence[Sequence[Sequence[int]]] = ()
    edges: Sequence[Sequence[float]] = ()


def scored_rows(results: Results) -> ScoredRows:
    """Return the pods' test rows, or, where they add none, those of the public test file."""
    if results.test and results.no_figures and results.test_confusion:
        return ScoredRows(
            "rows of the public test file", results.test, results.test_confusion, results.test_histograms,
            results.test_edges,
        )  # fmt: skip
    empty = bool(results.no_figures)
    return ScoredRows(
        "pods' test rows",
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
    if results.no_figures:
        yield f"no figures over the pods' rows: {results.no_figures}"
    if results.auc_error and results.auc_error > _TOLD_ERROR:
        but = ", but for the noise" if results.private else ""
        yield f"the AUC over the pods' test rows is within {results.auc_error:.4f} of the exact one{but}"
    if noise := noise_told(results.final):
        yield noise
        yield f"a row's loss counts as {MAX_PRIVATE_LOSS:g} nats at the most"
