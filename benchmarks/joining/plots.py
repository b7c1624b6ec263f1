"""The study's plots, from its figures alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.joining.figures import deviation, grid_rows, median_alone, of
from benchmarks.joining.splits import SPLITS

mpl.use("Agg")
import matplotlib.pyplot as plt

Entry = dict[str, Any]
TICKS = (1, 2, 4, 8, 20, 60)


def write(entries: Sequence[Entry], directory: Path) -> None:
    """Write joining.png (AUC over the number of pods) and rounds.png (validation AUC over the rounds)."""
    grid = grid_rows(entries)
    if not grid:
        return
    _joining(grid, directory / "joining.png")
    _rounds(grid, directory / "rounds.png")


def _joining(grid: Sequence[Entry], path: Path) -> None:
    figure, axes = plt.subplots(1, len(SPLITS), figsize=(14, 3.4), sharey=True, layout="constrained")
    for axis, split in zip(axes, SPLITS, strict=True):
        counts = sorted({entry["row"]["pods"] for entry in of(grid, split)})
        axis.set(title=split, xlabel="pods", ylim=(0.78, 0.94))
        if not counts:
            continue
        for place, pods in enumerate(counts):
            lone = [pod["auc"] for entry in of(grid, split, pods) for pod in entry["alone"]]
            axis.plot([place] * len(lone), lone, "o", color="0.6", ms=3, label="a pod alone" if not place else None)
        median = [np.mean([median_alone(entry) for entry in of(grid, split, pods)]) for pods in counts]
        axis.plot(range(len(counts)), median, "k--", label="median pod alone, mean over seeds")
        for name, style, key in (("federated, secure", "C0o-", "secure"), ("pooled", "C1^:", "pooled")):
            values = [[entry[key]["auc"] for entry in of(grid, split, pods)] for pods in counts]
            means, spread = [np.mean(v) for v in values], [deviation(v) for v in values]
            axis.errorbar(range(len(counts)), means, yerr=spread, fmt=style, label=name, capsize=2, ms=5)
        axis.set_xticks(range(len(counts)), [str(pods) for pods in counts])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test AUC")
    axes[0].legend(loc="lower right", fontsize=7)
    _save(figure, path)


def _rounds(grid: Sequence[Entry], path: Path) -> None:
    figure, axes = plt.subplots(1, len(SPLITS), figsize=(14, 3), sharey=True, layout="constrained")
    for axis, split in zip(axes, SPLITS, strict=True):
        for pods in sorted({entry["row"]["pods"] for entry in of(grid, split)}):
            curves = [entry["secure"]["validation_auc"] for entry in of(grid, split, pods)]
            mean = np.mean(np.array(curves, dtype=float), axis=0)
            axis.plot(range(1, len(mean) + 1), mean, label=f"{pods} pods")
        axis.set(title=split, xlabel="round", xscale="log", xlim=(0.9, 66), ylim=(0.78, 0.94))
        axis.set_xticks(TICKS, list(map(str, TICKS)))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("AUC on all pods' validation rows")
    axes[0].legend(loc="lower right", fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})  # the same figures give the same bytes
    plt.close(figure)
