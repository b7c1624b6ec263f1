"""Scoring on the modeller's public test file: plain metrics over rows that belong to no pod.

The file is read and its labels are checked as soon as the pods' schema is known, before anything is trained.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_app.errors import DataError
from fl_app.tabular.cells import Table
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import Counts, count, score, scored_classes
from fl_app.tabular.label_counts import left_out
from fl_app.tabular.regression import Errors
from fl_app.tabular.schema import CombinedSchema
from fl_app.tabular.score_cells import Edges, fixed_edges
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.table_file import read_like
from fl_app.tabular.threshold import chosen
from fl_app.validation import counted, first_of
from server.app.results import Metrics
from server.app.summaries import defined_metrics, metrics_from_errors

_SHOWN = 6
"""Most texts that are quoted, the most frequent ones first."""


class PublicRows:
    """The rows of a public test file whose labels are classes of the pods.

    Parameters
    ----------
    path : Path
        A CSV or Parquet file with a header.
    read_options : mapping
        How it is written, where that cannot be seen from it.
    schema : CombinedSchema
        The pods'.
    datastructure : DataStructure
        Which column is the target.

    Attributes
    ----------
    rows : Table
        The file.
    left_out : dict of str to int
        Rows whose labels keep them from being scored, see `fl_app.tabular.label_counts.left_out`.

    Raises
    ------
    DataError
        If the file cannot be read, has no column of labels, or no label of the pods.
    """

    def __init__(
        self, path: Path, read_options: Mapping[str, Any], schema: CombinedSchema, datastructure: DataStructure
    ) -> None:
        target = schema.column(datastructure.target).as_target()
        names = (*datastructure.features(schema), target.name)
        self.rows = read_like(path, names, schema.numbers, read_options)
        if target.name not in self.rows.names:
            raise DataError(
                f"the public test file {path} has no column {target.name!r} with its rows' labels; its columns are "
                f"{first_of(self.rows.names, _SHOWN)}"
            )
        self.left_out = left_out(self.rows, target)
        if sum(self.left_out.values()) == len(self.rows):
            ranked = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
            held = [f"{text!r} ({counted(count, 'row')})" for text, count in ranked if text]
            if target.numeric:
                raise DataError(f"the public test file {path} has no number in its column {target.name!r}")
            raise DataError(
                f"the public test file {path} has no label of the pods in column {target.name!r}: "
                f"{f'it holds {first_of(held, _SHOWN)}' if held else 'all its cells are missing'}; the pods publish "
                f"{first_of(list(map(repr, target.values)), _SHOWN)}"
            )


class TestFile:
    """The public test rows, encoded once.

    Parameters
    ----------
    rows : Table
        The file's rows.
    encoding : Encoding
        The run's encoding.
    architecture : str
        The run's network.
    positive : int or None
        As for `fl_app.tabular.evaluation.metrics_of`.
    network : str or None
        The digest of a network of the modeller's own.
    """

    __test__ = False  # keeps pytest from collecting it

    def __init__(
        self,
        rows: Table,
        encoding: Encoding,
        architecture: str,
        positive: int | None = None,
        network: str | None = None,
    ) -> None:
        self._rows, self._encoding, self._own = encoding.encode(rows), encoding, network
        self.use(architecture)
        self._classes = scored_classes(len(encoding.labels))
        self._positive = positive
        self._numeric = encoding.numeric

    def use(self, architecture: str) -> None:
        """Score models of this architecture from now on."""
        from fl_app.tabular.network import build_network
        from fl_app.tabular.own_module import OwnNetwork

        own = OwnNetwork.named(self._own)
        self._network, self._metrics = (
            build_network(self._encoding, architecture, own=own),
            own.metrics if own else None,
        )

    def score(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Metrics:
        """Return the metrics of the model with these parameters; AUC and loss are exact."""
        if self._numeric:
            return self._with_own(metrics_from_errors(self.errors(arrays), self._numeric))
        labels, scores = self._scores(arrays)
        return self._with_own(defined_metrics(score(labels, scores, self._positive), len(self._rows)))

    def _with_own(self, metrics: Metrics) -> Metrics:
        """Return the metrics with those of a network's own, of the model that was scored last."""
        if self._metrics is None:
            return metrics
        from fl_app.tabular.own_metrics import means
        from fl_app.tabular.training import own_sums

        sums = own_sums(self._network, self._rows, self._metrics, self._numeric)
        return metrics.changed(own=means(self._metrics.bounds, sums.tolist(), len(self._rows)))

    def counts(self, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Counts, Edges]:
        """Return the counts of the model with these parameters, and the edges of their score cells."""
        labels, scores = self._scores(arrays)
        edges = fixed_edges(self._classes)
        return count(labels, scores, edges), edges

    def errors(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Errors:
        """Return the errors of a numeric target by the model with these parameters, see `Errors`."""
        from fl_app.tabular.network import load_state
        from fl_app.tabular.training import evaluate_numbers

        if self._numeric is None:
            raise DataError("the target has classes, whose rows have no errors in a unit")
        load_state(self._network, arrays)
        return evaluate_numbers(self._network, self._rows, self._numeric)

    def confusion(self, arrays: Mapping[str, npt.NDArray[Any]], threshold: float) -> npt.NDArray[np.int64]:
        """Return the confusion matrix, int64 [2, 2], of a model of two classes with these parameters at a threshold."""
        labels, scores = self._scores(arrays)
        table = np.zeros((2, 2), np.int64)
        np.add.at(table, (labels, chosen(scores, threshold)), 1)
        return table

    def _scores(self, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        from fl_app.tabular.network import load_state
        from fl_app.tabular.training import predict_proba

        load_state(self._network, arrays)
        if self._rows.labels is None:
            raise DataError("the test file has no labels")
        return self._rows.labels, predict_proba(self._network, self._rows)
