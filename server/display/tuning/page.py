"""The page of a tuning: its trials in a table, and their curves, a picture for each rung."""

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fl_app.validation import counted
from server.display.report.plots import LOOK, SIZE, line, svg
from server.display.report.style import PALETTE
from server.display.templates import render
from server.display.tuning.table import compared_on, heads, in_words, rows
from server.display.words import number
from server.modeller.tuning.directory import Tuning

_NAMED = 12
"""Lines that a picture names at most; of more, only the best are named."""


def page(tuning: Tuning) -> str:
    """Return the page as HTML."""
    pictures = dict(_pictures(tuning))
    best = tuning.best
    return render(
        "display/tuning/page.html.j2",
        tuning=tuning,
        palette=PALETTE,
        heads=heads(tuning),
        rows=[cells for _, cells in rows(tuning)],
        left_out=[(trial.number, trial.left_out) for trial in tuning.trials if trial.left_out],
        drawings={name: drawing for name, (_, drawing) in pictures.items()},
        captions={name: caption for name, (caption, _) in pictures.items()},
        names=tuple(pictures),
        lead=(
            counted(len(tuning.trials), "trial"),
            f"seed {tuning.seed}",
            f"one in {tuning.eta} goes on",
            f"judged by {tuning.metric} on all pods' validation rows",
        ),
        tiles=() if best is None else ((f"best {tuning.metric}", number(best.value)), ("its trial", str(best.trial))),
        compared=compared_on(tuning),
        best=best and in_words(best.settings),
    )


def _pictures(tuning: Tuning) -> list[tuple[str, tuple[tuple[str, str], Markup]]]:
    """Return name, heading with caption, and drawing for each rung of which anything is known."""
    found = []
    for rung, extent in enumerate(tuning.rungs):
        ranked = tuning.ranked(rung)
        if not ranked:
            continue
        last = rung == len(tuning.rungs) - 1
        heading = "Final run" if last else f"{counted(len(ranked), 'trial')} of {counted(extent.rounds, 'round')}"
        caption = f"Validation {tuning.metric} of each round's model."
        name = f"rung-{rung + 1}"
        with rc_context(LOOK):
            drawing = svg(_curves(tuning, rung), name)
        found.append((name, ((heading, caption), drawing)))
    return found


def _curves(tuning: Tuning, rung: int) -> Figure:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="round", ylabel=tuning.metric)
    for place, trial in enumerate(tuning.ranked(rung)):
        run = trial.on(rung)
        values = run.values if run else ()
        heights = [float("nan") if value is None else value for value in values]
        name = f"trial {trial.number}" if place < _NAMED else f"_{trial.number}"
        line(axes, range(1, len(heights) + 1), heights, name, trial.number - 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)  # beside the lines, of which there are many
    return figure
