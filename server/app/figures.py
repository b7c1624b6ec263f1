"""How the sums of an evaluation become figures, for a target of classes and for one that is a number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_app.flower.names import TEST_PREFIX
from fl_app.replica.tabular import counts_in, errors_in
from fl_app.secagg.codec import Aggregate
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import Counts
from fl_app.tabular.intervals import intervals_of, intervals_of_errors
from fl_app.tabular.network_source import Bounds
from fl_app.tabular.regression import NumericTarget, place_of_loss
from fl_app.tabular.score_cells import Edges, auc_error
from fl_app.tabular.threshold import ThresholdRule, best_threshold, confusion_from
from server.app.best_model import Arrays
from server.app.decision import metrics_at
from server.app.noised_metrics import shown
from server.app.public_rows import TestFile
from server.app.results import Decision, Metrics, Results
from server.app.summaries import metrics_from, metrics_from_errors, no_figures, regression_of, with_own


class Figures(Protocol):
    """What results.json says of evaluations."""

    def metrics(self, sums: Aggregate, prefix: str = "") -> Metrics:
        """Return the metrics in an evaluation's sums; those of the test rows have the prefix `TEST_PREFIX`."""

    def error(self, sums: Aggregate, edges: Edges) -> float:
        """Return the largest error of a metric of theirs, whose scores were counted in these cells."""

    def loss_of(self, total: float, sums: Aggregate) -> float | None:
        """Return the loss of another network on an evaluation's rows, where it is ``total`` summed as the own is."""

    def final(self, sums: Aggregate, edges: Edges, why_not: Sequence[str]) -> dict[str, Any]:
        """Return the fields of `Results` that say how the run's model does on the pods' test rows.

        ``why_not`` is why rows of theirs are not counted, as far as that is known.
        """

    def public(self, test_file: TestFile, arrays: Arrays, told: Results) -> dict[str, Any]:
        """Return those that say how it does on the public test file, beside its metrics there; ``told``: all others."""


@dataclass(frozen=True)
class NumberFigures:
    """Figures of a target that is a number, all of them exact; ``own`` are the bounds of metrics of a network's own."""

    encoding: Encoding
    numeric: NumericTarget
    own: Bounds = field(default_factory=dict)

    def metrics(self, sums: Aggregate, prefix: str = "") -> Metrics:
        """See `Figures`."""
        return with_own(metrics_from_errors(errors_in(sums, prefix), self.numeric), self.own, sums, prefix)

    def error(self, sums: Aggregate, edges: Edges) -> float:
        """See `Figures`."""
        return 0.0

    def loss_of(self, total: float, sums: Aggregate) -> float | None:
        """See `Figures`."""
        errors = errors_in(sums)
        changed = errors.sums.copy()
        changed[place_of_loss(self.numeric)] = total
        return metrics_from_errors(replace(errors, sums=changed), self.numeric).loss

    def final(self, sums: Aggregate, edges: Edges, why_not: Sequence[str]) -> dict[str, Any]:
        """See `Figures`."""
        errors, regression = errors_in(sums, TEST_PREFIX), regression_of(self.encoding)
        final = self.metrics(sums, TEST_PREFIX)
        return {
            "final": final.changed(intervals=intervals_of_errors(errors, self.numeric)),
            "regression": regression and regression.changed(pairs=errors.pairs.tolist()),
            "no_figures": no_figures(final, why_not),
        }

    def public(self, test_file: TestFile, arrays: Arrays, told: Results) -> dict[str, Any]:
        """See `Figures`."""
        errors = test_file.errors(arrays)
        return {
            "test": told.test and told.test.changed(intervals=intervals_of_errors(errors, self.numeric)),
            "regression": told.regression and told.regression.changed(test_pairs=errors.pairs.tolist()),
        }


@dataclass(frozen=True)
class ClassFigures:
    """Figures of classes: metrics of counts, whose AUC is as exact as the cells of the scores are fine.

    Attributes
    ----------
    positive : int or None
        The class that the modeller has named for precision, recall and F1.
    rule : str
        How the decision threshold is chosen.
    noised : callable or None
        In a private run, what returns the metrics of noised counts that so many pods have added to.
    own : mapping of str to (float, float)
        The bounds of metrics of a network's own.
    """

    encoding: Encoding
    positive: int | None = None
    rule: ThresholdRule = "0.5"
    noised: Callable[[Counts, int], Metrics] | None = None
    own: Bounds = field(default_factory=dict)

    def metrics(self, sums: Aggregate, prefix: str = "") -> Metrics:
        """See `Figures`."""
        counts = counts_in(sums, prefix)
        if self.noised:
            return self.noised(counts, sums.pods)
        return with_own(metrics_from(counts, self.positive), self.own, sums, prefix)

    def error(self, sums: Aggregate, edges: Edges) -> float:
        """See `Figures`."""
        return auc_error(edges, counts_in(sums).histograms)

    def loss_of(self, total: float, sums: Aggregate) -> float | None:
        """See `Figures`."""
        return metrics_from(replace(counts_in(sums), loss_sum=total)).loss

    def final(self, sums: Aggregate, edges: Edges, why_not: Sequence[str]) -> dict[str, Any]:
        """See `Figures`."""
        counts, final = counts_in(sums, TEST_PREFIX), self.metrics(sums, TEST_PREFIX)
        if not self.noised:
            final = final.changed(intervals=intervals_of(counts, final.auc, self.positive))
        counts = shown(counts)
        told: dict[str, Any] = {
            "final": final,
            "confusion": counts.confusion.tolist(),
            "histograms": counts.histograms.tolist(),
            "score_edges": edges.tolist(),
            "auc_error": round(auc_error(edges, counts.histograms), 6),
            "positive": self._positive_name(),
            "no_figures": no_figures(final, why_not),
        }
        if self.rule != "0.5":
            told["decision"] = self._decision(counts_in(sums), counts, edges[0])
        return told

    def public(self, test_file: TestFile, arrays: Arrays, told: Results) -> dict[str, Any]:
        """See `Figures`."""
        counts, edges = test_file.counts(arrays)
        changes: dict[str, Any] = {}
        if told.test:
            changes["test"] = told.test.changed(intervals=intervals_of(counts, told.test.auc, self.positive))
        if told.no_figures:
            changes |= {
                "test_confusion": counts.confusion.tolist(),
                "test_histograms": counts.histograms.tolist(),
                "test_edges": edges.tolist(),
            }
        if told.decision and told.decision.threshold is not None:
            confusion = test_file.confusion(arrays, told.decision.threshold)
            at = metrics_at(confusion, self.positive)
            changes["decision"] = told.decision.changed(test_confusion=confusion.tolist(), test=at)
        return changes

    def _decision(self, validation: Counts, test: Counts, edges: NDArray[np.float64]) -> Decision:
        """Choose the decision threshold on the validation rows, and give the figures at it on the test rows."""
        positive = 1 if self.positive is None else self.positive
        threshold = best_threshold(validation.histograms[0], edges, self.rule, positive)
        decision = Decision(rule=self.rule, threshold=threshold)
        if threshold is None:
            return decision
        confusion = confusion_from(test.histograms[0], int(np.flatnonzero(edges == threshold)[0]))
        if not confusion.any():
            return decision
        return decision.changed(confusion=confusion.tolist(), final=metrics_at(confusion, self.positive))

    def _positive_name(self) -> str | None:
        """Return the class that precision, recall and F1 are of; None where they are means over the classes."""
        classes = self.encoding.labels
        if self.positive is not None:
            return classes[self.positive]
        return classes[1] if len(classes) == 2 else None
