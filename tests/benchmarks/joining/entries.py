"""Entries of a study's results.json, made up."""

from dataclasses import asdict
from typing import Any

from benchmarks.joining.rows import Row


def entry_of(row: Row, federated: float) -> dict[str, Any]:
    scores = {"auc": federated, "accuracy": 0.85}
    run = {
        **scores,
        "rounds": 2,
        "bytes_to_pods": 4_000_000,
        "bytes_from_pods": 6_000_000,
        "validation_auc": [0.8, 0.9],
    }
    return {
        "row": asdict(row),
        "secure": run,
        "plain": run,
        "pooled": {"auc": 0.92, "accuracy": 0.86},
        "alone": [{"auc": auc, "accuracy": 0.8} for auc in (0.5, 0.8, 0.9)],
        "seconds": 30.0,
    }
