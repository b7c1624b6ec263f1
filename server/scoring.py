"""Scoring on the modeller's own, public test file: plain metrics over rows that are no pod's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fl_app.errors import DataError
from fl_app.tabular.encoding import Encoding


class TestFile:
    """The public test rows, encoded once.

    Parameters
    ----------
    path : Path
        A CSV file with a header, perhaps gzipped; empty fields are missing values.
    read_options : mapping
        More of pandas.read_csv's options.
    encoding : Encoding
        The run's encoding.
    architecture : str
        The run's network.
    """

    __test__ = False  # not a test of pytest's

    def __init__(self, path: Path, read_options: Mapping[str, Any], encoding: Encoding, architecture: str) -> None:
        from fl_app.tabular.model import build_network

        self._rows = encoding.encode(read_rows(path, read_options))
        self._network = build_network(encoding, architecture)

    def score(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, float | int]:
        """Return accuracy, AUC (one against the rest where there are more than two classes), loss and rows."""
        from sklearn.metrics import log_loss, roc_auc_score

        from fl_app.tabular.model import load_state
        from fl_app.tabular.training import predict_proba

        load_state(self._network, arrays)
        scores, labels = predict_proba(self._network, self._rows), self._rows.labels
        if labels is None:
            raise DataError("the test file has no labels")
        classes = range(scores.shape[1])
        chosen = scores[:, 1] if len(classes) == 2 else scores
        return {
            "accuracy": float(np.mean(scores.argmax(axis=1) == labels)),
            "auc": float(roc_auc_score(labels, chosen, multi_class="ovr", labels=list(classes))),
            "loss": float(log_loss(labels, scores, labels=list(classes))),
            "num_examples": len(labels),
        }


def read_rows(path: Path, read_options: Mapping[str, Any]) -> pd.DataFrame:
    """Read a modeller's CSV file, spaces after a comma skipped; raises `DataError`, naming it, if it cannot be read."""
    try:
        frame: pd.DataFrame = pd.read_csv(path, **{"skipinitialspace": True, **read_options})
        return frame
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
