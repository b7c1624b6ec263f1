"""Scoring rows that one may look at: the modeller's own, never a pod's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.metrics import count, metrics_of


def read_rows(path: str | Path, read_options: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Read a CSV file (plain or compressed; spaces after a comma are skipped), or a ``.parquet`` file.

    Raises
    ------
    DataError
        If it cannot be read; the text names it.
    """
    try:
        frame: pd.DataFrame
        if Path(path).suffix == ".parquet":
            frame = pd.read_parquet(path, **(read_options or {}))
        else:
            frame = pd.read_csv(path, **{"skipinitialspace": True, **(read_options or {})})
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as a table: {why}") from error
    return frame


def score(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, float]:
    """Return the metrics of `metrics_of`, with the exact AUC and loss where counts only come close to them.

    Parameters
    ----------
    labels : int64 [n]
        The true classes, by their positions.
    probabilities : float64 [n, C]
        What a model gives.
    """
    from sklearn.metrics import log_loss, roc_auc_score

    if not len(labels):
        raise DataError("no row has a label that the model knows")
    metrics = metrics_of(count(labels, probabilities))
    classes = list(range(probabilities.shape[1]))
    metrics["loss"] = float(log_loss(labels, probabilities, labels=classes))
    if len(np.unique(labels)) == len(classes):
        chosen = probabilities[:, 1] if len(classes) == 2 else probabilities
        metrics["auc"] = float(roc_auc_score(labels, chosen, multi_class="ovr", labels=classes))
    return metrics
