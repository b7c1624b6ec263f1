"""The pictures of a description: how each column is spread, and how its rows part into classes."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fl_app.tabular.dates import unit_in
from server.app.description_result import ColumnDescription, DescriptionResult
from server.display.description import Balanced, seen, value_of
from server.display.report.plots import LIGHT, LOOK, SIZE, look_of, plain

_ACROSS = 4
_MOST_COLUMNS = 24
"""Most columns in a picture."""
_MOST_BARS = 8
_MOST_CLASSES = 10

_Draw = Callable[[Axes, int], None]


def description_pictures(description: DescriptionResult | None) -> dict[str, Figure]:
    """Draw a description: name -> figure; nothing of a run that is none."""
    if description is None:
        return {}
    with rc_context(LOOK):
        drawn = {"distributions": distributions(description), "balance": balances(description)}
    return {name: figure for name, figure in drawn.items() if figure}


def distributions(description: DescriptionResult) -> Figure | None:
    """Draw a histogram of each number and bars of each column's most frequent categories; None if there is nothing."""
    columns = [c for c in description.columns if c.histogram_rows or c.categories][:_MOST_COLUMNS]
    return _grid([column.name for column in columns], lambda axes, place: _spread(axes, columns[place]))


def balances(description: DescriptionResult) -> Figure | None:
    """Draw the shares of the classes in each category and stretch that holds more rows than noise could make."""
    found = list(seen(description).items())[:_MOST_COLUMNS]
    shown = description.classes[:_MOST_CLASSES]
    figure = _grid([name for name, _ in found], lambda axes, place: _shares(axes, found[place][1], len(shown)))
    if figure:
        handles = [
            figure.axes[0].barh([0], [0], color=look_of(place)["color"], label=plain(name))
            for place, name in enumerate(shown)
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=min(5, len(handles)))
    return figure


def _grid(titles: Sequence[str], draw: _Draw) -> Figure | None:
    if not titles:
        return None
    across = min(_ACROSS, len(titles))
    down = math.ceil(len(titles) / across)
    figure = Figure(figsize=(SIZE[0] * 0.75 * across, SIZE[1] * 0.72 * down + 0.4), layout="constrained")
    for place, axes in enumerate(figure.subplots(down, across, squeeze=False).ravel()):
        if place >= len(titles):
            axes.set_visible(False)
            continue
        axes.set_title(plain(titles[place]), fontsize=11, loc="left")
        axes.tick_params(labelsize=8)
        draw(axes, place)
    return figure


def _spread(axes: Axes, column: ColumnDescription) -> None:
    colour = look_of(0)["color"]
    if column.histogram_rows:
        edges = np.array(column.histogram_edges)
        axes.bar(edges[:-1], column.histogram_rows, np.diff(edges), align="edge", color=colour, edgecolor=LIGHT["card"])
        axes.locator_params(axis="x", nbins=3 if unit_in(column.unit) else 5)
        if unit_in(column.unit):
            axes.xaxis.set_major_formatter(lambda end, _: value_of(end, column.unit).partition(" ")[0])
        axes.grid(visible=False, axis="x")
        for end in column.quantiles[1:4]:
            axes.axvline(end, color=LIGHT["muted"], linewidth=1, linestyle="--")
        return
    entries = column.categories[:_MOST_BARS][::-1]
    axes.barh([plain(entry.value, 16) for entry in entries], [entry.rows for entry in entries], color=colour)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4)


def _shares(axes: Axes, entries: Sequence[Balanced], classes: int) -> None:
    fullest = sorted(sorted(entries, key=lambda entry: -sum(entry.rows))[:_MOST_BARS], key=entries.index)[::-1]
    labels = [plain(entry.cell, 24) for entry in fullest]
    places, start = np.arange(len(fullest)), np.zeros(len(fullest))
    for position in range(classes):
        parts = np.array([entry.shares[position] or 0.0 for entry in fullest])
        axes.barh(places, parts, left=start, color=look_of(position)["color"])
        start += parts
    axes.set_yticks(places, labels)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    axes.grid(visible=False)
