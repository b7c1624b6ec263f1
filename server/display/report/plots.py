"""The pictures: each drawn once, and written as SVG in the page's colours and as PNG."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: a figure of its own draws with Agg, and keeps no state
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fl_app.system.printable import one_line
from server.app.importance_result import ImportanceResult
from server.app.results import RegressionResult, Results, RoundResult
from server.display.importance import most_important
from server.display.report.style import PALETTE
from server.display.scored_rows import scored_rows
from server.display.words import measure, value_told

SIZE = (4.6, 3.3)
GROUPS = 10
LIGHT = {name: colours[0] for name, colours in PALETTE.items()}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_SERIES = [LIGHT[name] for name in _ORDINALS]
_MARKERS = "os^Dvp"
_STYLES = ("-", "--", ":", "-.")
"""How the lines of the first ten series are drawn, of the next ten, and so on: no two of 40 look alike."""
LOOK: Any = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), LIGHT["ink"]),
    **dict.fromkeys(("xtick.color", "ytick.color"), LIGHT["muted"]),
    **{"axes.edgecolor": LIGHT["line"], "grid.color": LIGHT["line"], "axes.facecolor": "none"},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True},
    **{"legend.frameon": False, "lines.markersize": 3.5, "lines.linewidth": 1.8, "font.size": 11},
    **{"svg.fonttype": "none", "svg.hashsalt": "fl-app"},
}


def pictures(results: Results) -> dict[str, Figure]:
    """Draw what the results hold: name -> figure, in the page's order."""
    with rc_context(LOOK):
        return dict(_figures(results))


def svg(figure: Figure, name: str) -> Markup:
    """Write a figure as an SVG element whose colours are the page's variables."""
    content = io.StringIO()
    with rc_context(LOOK):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', rf'\1 role="img" aria-labelledby="{name}"', text, count=1)
    # matplotlib numbers the parts of each picture from one; in a page ids must be unique.
    text = re.sub(
        r'\bid="((?:figure|axes|patch|line2d|text|legend|matplotlib|xtick|ytick|PathCollection)[^"]*)"', "", text
    )
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    for colour, (light, _) in PALETTE.items():
        text = text.replace(light, f"var(--{colour})")
    return Markup(text)  # noqa: S704 - matplotlib escapes what it writes into its SVG


def png(figure: Figure) -> bytes:
    """Write a figure as PNG, on white."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor=LIGHT["card"])
    return content.getvalue()


def _figures(results: Results) -> Iterator[tuple[str, Figure]]:
    if results.private:  # whose rounds are scored on the public test file, or not at all
        if any(entry.test for entry in results.rounds):
            yield "curves", _public_curves(results.rounds, ("auc", "accuracy", "f1"))
            yield "loss", _public_curves(results.rounds, ("loss",))
    elif results.rounds:
        yield "curves", _curves(results.rounds, ("r2",) if results.regression else ("auc", "accuracy", "f1"))
        yield "loss", _losses(results.rounds)
    shown = scored_rows(results)
    if shown.histograms:
        counts = np.array(shown.histograms, dtype=np.int64)
        names = results.classes[1:] if len(counts) == 1 else results.classes
        yield "roc", _roc(counts, names)
        yield "calibration", _calibration(counts, names, shown.edges)
    if shown.confusion:
        yield "confusion", _confusion(shown.confusion, results.classes)
    if (regression := results.regression) and shown.pairs:
        yield "pairs", _pairs(shown.pairs, regression)
    if results.importance and results.importance.columns:
        yield "importance", _importance(results.importance)


def _figure(xlabel: str, ylabel: str = "") -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def _curves(rounds: Sequence[RoundResult], metrics: Sequence[str]) -> Figure:
    """Draw metrics by round, and the first of them on the public test file."""
    figure, axes = _figure("round")
    lines = [(name, [getattr(entry, name) for entry in rounds]) for name in metrics]
    if rounds[-1].test:
        public = [getattr(entry.test, metrics[0]) if entry.test else None for entry in rounds]
        lines.append((f"{metrics[0]}, public test file", public))
    _by_round(axes, rounds, lines)
    return figure


def _losses(rounds: Sequence[RoundResult]) -> Figure:
    figure, axes = _figure("round")
    lines = [
        ("validation", [entry.loss for entry in rounds]),
        ("training", [entry.train_loss for entry in rounds]),
    ]
    if rounds[-1].test:
        lines.append(("public test file", [entry.test.loss if entry.test else None for entry in rounds]))
    _by_round(axes, rounds, lines)
    return figure


def _public_curves(rounds: Sequence[RoundResult], metrics: Sequence[str]) -> Figure:
    figure, axes = _figure("round")
    scored = [entry for entry in rounds if entry.test]
    _by_round(axes, scored, [(name, [getattr(entry.test, name) for entry in scored]) for name in metrics])
    return figure


def _by_round(axes: Axes, rounds: Sequence[RoundResult], lines: Sequence[tuple[str, Sequence[float | None]]]) -> None:
    """Draw lines over the rounds, each given by its label and a value for each round, None where there is a gap."""
    for position, (label, values) in enumerate(lines):
        heights = [float("nan") if value is None else value for value in values]
        line(axes, [entry.round for entry in rounds], heights, label, position)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()


def line(axes: Axes, x: Sequence[float], y: Sequence[float], label: str, position: int) -> None:
    """Draw one line with a colour of its own, and up to 40 points with a marker too."""
    marker = _MARKERS[position % len(_MARKERS)] if len(x) <= 40 else None
    axes.plot(x, y, marker=marker, label=label, **look_of(position))


def look_of(position: int) -> dict[str, Any]:
    """Return colour and style of the series at a position."""
    turn, colour = divmod(position, len(_SERIES))
    return {"color": _SERIES[colour], "linestyle": _STYLES[turn % len(_STYLES)]}


def roc_points(histogram: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give false and true positive rates, float64 [cells + 1] each, from int64 [2, cells] score counts.

    The threshold falls from above the last cell to below the first.
    """
    totals = np.maximum(histogram.sum(axis=1), 1)
    sums = np.cumsum(histogram[:, ::-1], axis=1) / totals[:, None]
    outside, inside = np.concatenate([np.zeros((2, 1)), sums], axis=1)
    return outside, inside


def calibration_points(
    histogram: NDArray[np.int64], edges: Sequence[float] = (), groups: int = GROUPS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Give mean score, observed share and rows of each group of scores that has rows, from int64 [2, cells].

    A row counts with the middle of its cell, between two of ``edges``; without these, cells are even in arcsin(sqrt p).
    """
    cells = histogram.shape[1]
    bounds = np.array(edges) if len(edges) else np.sin(np.pi / 2 * np.arange(cells + 1) / cells) ** 2
    scores = (bounds[:-1] + bounds[1:]) / 2
    group = np.minimum((scores * groups).astype(np.int64), groups - 1)
    rows = np.bincount(group, weights=histogram.sum(axis=0), minlength=groups)
    inside = np.bincount(group, weights=histogram[1], minlength=groups)
    score = np.bincount(group, weights=histogram.sum(axis=0) * scores, minlength=groups)
    held = rows > 0
    return score[held] / rows[held], inside[held] / rows[held], rows[held].astype(np.int64)


def _roc(histograms: NDArray[np.int64], names: Sequence[str]) -> Figure:
    figure, axes = _figure("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linewidth=1, linestyle="--", label="by chance")
    for position, (histogram, name) in enumerate(zip(histograms, names, strict=True)):
        outside, inside = roc_points(histogram)
        axes.plot(outside, inside, label=plain(name), **look_of(position))
    axes.legend(loc="lower right", ncols=1 + (len(names) > 8))
    return figure


def _calibration(histograms: NDArray[np.int64], names: Sequence[str], edges: Sequence[Sequence[float]] = ()) -> Figure:
    figure, axes = _figure("predicted probability", "observed share")
    axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linewidth=1, linestyle="--", label="perfect")
    for position, (histogram, name) in enumerate(zip(histograms, names, strict=True)):
        score, share, rows = calibration_points(histogram, edges[position] if edges else ())
        look = look_of(position)
        axes.plot(score, share, linewidth=1, label=plain(name), **look)
        sizes = 12 + 140 * rows / max(rows.max(initial=1), 1)
        axes.scatter(score, share, s=sizes, color=look["color"], alpha=0.75, linewidths=0)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    axes.legend(loc="upper left", ncols=1 + (len(names) > 8))
    return figure


def _confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.5, 0.6 * len(names) + 1.5)
    figure = Figure(figsize=(side * 1.2, side), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.4)
    labels = list(map(plain, names))
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(names)), labels, rotation=0 if len(names) <= 4 else 90)
    axes.set_yticks(range(len(names)), labels)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, f"{count:,}", ha="center", va="center")
    return figure


def _pairs(pairs: Sequence[Sequence[int]], regression: RegressionResult) -> Figure:
    """Draw rows by the groups of observed and of predicted value, each group as wide as another."""
    counts = np.array(pairs)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [value_told(edge, regression.unit) for edge in regression.groups]
    dates = measure(regression.unit) != regression.unit
    unit = f", {plain(regression.unit)}" if regression.unit and not dates else ""
    figure, axes = _figure(f"observed{unit}", f"predicted{unit}")
    axes.grid(visible=False)
    places = np.arange(len(regression.groups))
    axes.pcolormesh(places, places, shares.T, cmap="Blues", vmin=0, vmax=1)
    axes.plot(places[[0, -1]], places[[0, -1]], color=LIGHT["muted"], linewidth=1, linestyle="--")
    axes.set_xticks(places, labels, rotation=90 if max(map(len, labels)) > 3 else 0)
    axes.set_yticks(places, labels)
    return figure


def _importance(result: ImportanceResult) -> Figure:
    """Draw the rise of the loss with each column shuffled, the most important on top."""
    columns = most_important(result)
    figure = Figure(figsize=(2 * SIZE[0], 0.3 * len(columns) + 0.8), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(columns))
    rises = [column.loss_rise for column in columns]
    axes.barh(places, rises, height=0.7, color=LIGHT["first"], alpha=0.6)
    for place, column in enumerate(columns):
        if ends := column.intervals.get("loss_rise"):
            axes.plot(ends, [place, place], color=LIGHT["ink"], linewidth=1.2, marker="|", markersize=6)
    axes.axvline(0, color=LIGHT["muted"], linewidth=1)
    axes.set_yticks(places, [plain(column.column) for column in columns])
    axes.set(xlabel="rise of the loss", ylim=(len(columns) - 0.5, -0.5))
    axes.grid(visible=False, axis="y")
    return figure


def plain(name: str, most: int = 24) -> str:
    """Keep matplotlib from reading a name as mathematics, or as a label to leave out, and cut it to size."""
    text = one_line(name).replace("$", r"\$")
    text = f" {text}" if text.startswith("_") else text
    return text if len(text) <= most else f"{text[: most - 1]}…"
