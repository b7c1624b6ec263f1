"""Scoring on the modeller's public test file: plain metrics over rows that belong to no pod."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from fl_app.errors import DataError
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import score
from fl_app.tabular.label_counts import left_out
from fl_app.tabular.table_file import read_rows
from server.app.results import Metrics
from server.app.summaries import defined_metrics


class TestFile:
    """The public test rows, encoded once.

    Parameters
    ----------
    path : Path
        A CSV file with a header, plain or gzipped; empty fields are missing values.
    read_options : mapping
        Further options of pandas.read_csv.
    encoding : Encoding
        The run's encoding.
    architecture : str
        The run's network.

    Attributes
    ----------
    left_out : dict of str to int
        Rows that are not scored, by their label's text, "" where it is missing.
    """

    __test__ = False  # keeps pytest from collecting it

    def __init__(self, path: Path, read_options: Mapping[str, Any], encoding: Encoding, architecture: str) -> None:
        from fl_app.tabular.network import build_network

        table = read_rows(path, encoding, read_options)
        self._rows = encoding.encode(table)
        self.left_out = left_out(table, encoding.target)
        self._network = build_network(encoding, architecture)

    def score(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Metrics:
        """Return the metrics of the model with these parameters; AUC and loss are exact.

        Raises
        ------
        DataError
            If the file has no labels, or none that the model knows.
        """
        from fl_app.tabular.network import load_state
        from fl_app.tabular.training import predict_proba

        load_state(self._network, arrays)
        if self._rows.labels is None:
            raise DataError("the test file has no labels")
        values = score(self._rows.labels, predict_proba(self._network, self._rows))
        return defined_metrics(values, len(self._rows))
