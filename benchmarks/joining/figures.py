"""Reading the study's results.json: which rows there are, and their means and spreads over seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Entry = dict[str, Any]


def grid_rows(entries: Sequence[Entry]) -> list[Entry]:
    """Return the rows of the grid: the MLP in every way, on the whole table."""
    return [entry for entry in entries if entry["row"]["architecture"] == "mlp" and "alone" in entry]


def headline_rows(entries: Sequence[Entry]) -> list[Entry]:
    """Return the rows of the ensemble."""
    return [entry for entry in entries if entry["row"]["architecture"] == "tabm"]


def choice_rows(entries: Sequence[Entry]) -> list[Entry]:
    """Return the runs in which settings were weighed."""
    return [entry for entry in entries if entry["row"]["only_federated"]]


def of(entries: Sequence[Entry], split: str, pods: int | None = None) -> list[Entry]:
    """Return the rows of one split, and of one number of pods."""
    return [e for e in entries if e["row"]["split"] == split and pods in (None, e["row"]["pods"])]


def median_alone(entry: Entry, metric: str = "auc") -> float:
    """Return what the median pod of a row reaches by itself."""
    return float(np.median([pod[metric] for pod in entry["alone"]]))


def gains(entries: Sequence[Entry]) -> list[float]:
    """Return, seed by seed, the federated AUC minus that of the median pod alone."""
    return [entry["secure"]["auc"] - median_alone(entry) for entry in entries]


def secure_minus_plain(entries: Sequence[Entry]) -> float:
    """Return the largest difference in AUC between a secure run and the same run in the clear."""
    return float(max(abs(entry["secure"]["auc"] - entry["plain"]["auc"]) for entry in entries))


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation over seeds, of a sample; NaN for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def spread(values: Sequence[float], digits: int = 4) -> str:
    """Write mean and standard deviation over seeds, of a single one only its value."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {deviation(values):.{digits}f}" if len(values) > 1 else mean
