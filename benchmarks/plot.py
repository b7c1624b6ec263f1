"""The benchmark's figures as one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Measured
from benchmarks.rounds import Rounds

_THEIRS = "#c1666b"
_COLOURS = {"fl-app": "#2a6f97", "SecAgg+": _THEIRS, "Flower": _THEIRS, "FedAvg": "#d4a373", "scalar": "#999999"}
_ELSE = "#555555"


def plot_core(measured: Sequence[Measured], path: Path) -> None:
    """Draw nanoseconds an element of the largest vectors, one panel a kind of work, as a PNG file."""
    size = max(m.elements for m in measured)
    panels: dict[str, list[tuple[str, float, float, float]]] = {}
    for m in measured:
        if m.elements == size:
            title = m.what if m.pods == 1 else f"{m.what}, {m.pods} pods"
            panels.setdefault(title, []).append((m.by, m.median, m.least, m.most))
    _draw(panels, f"nanoseconds per element, {size:.0e} elements", path)


def plot_rounds(measured: Sequence[Rounds], path: Path) -> None:
    """Draw seconds a round, one panel a place and number of pods, as a PNG file."""
    panels: dict[str, list[tuple[str, float, float, float]]] = {}
    for m in measured:
        panels.setdefault(f"{m.where}, {m.pods} pods", []).append((m.by, m.median, min(m.seconds), max(m.seconds)))
    _draw(panels, "seconds per round", path)


def _draw(panels: dict[str, list[tuple[str, float, float, float]]], unit: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 0.8 + 2.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid: list[Any] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (title, bars) in zip(grid, panels.items(), strict=False):
        names = [by for by, *_ in bars]
        medians = [median for _, median, *_ in bars]
        spread = [[m - low for _, m, low, _ in bars], [high - m for _, m, _, high in bars]]
        colours = [next((c for head, c in _COLOURS.items() if name.startswith(head)), _ELSE) for name in names]
        axes.barh(names, medians, xerr=spread, color=colours, error_kw={"elinewidth": 1, "ecolor": "#333333"})
        axes.invert_yaxis()
        axes.set_title(title, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(f"{unit} (median; least to most)", fontsize=11)
    figure.savefig(path, dpi=130)
