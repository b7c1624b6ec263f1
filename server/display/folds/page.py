"""The page of a cross-validation: its figures in a table, and the curves of its runs in one picture."""

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from server.display.folds.table import POOLED, heads, held_out, rows
from server.display.report.plots import LOOK, SIZE, line, svg
from server.display.report.style import PALETTE
from server.display.templates import render
from server.display.words import number
from server.modeller.folds.directory import CrossValidation

_CURVES = "loss"
_CAPTION = ("Loss", "Validation loss of each round's model, a line for each fold.")


def page(validation: CrossValidation) -> str:
    """Return the page as HTML."""
    drawings: dict[str, Markup] = {}
    if any(run.validation for run in validation.completed):
        with rc_context(LOOK):
            drawings[_CURVES] = svg(_curves(validation), _CURVES)
    shown = list(rows(validation))
    return render(
        "display/folds/page.html.j2",
        folds=validation,
        palette=PALETTE,
        heads=heads(validation),
        rows=shown,
        drawings=drawings,
        captions={_CURVES: _CAPTION},
        names=tuple(drawings),
        lead=(f"{validation.folds} folds", f"{len(validation.completed)} of {validation.folds} runs completed"),
        tiles=[
            (f"{name}, {POOLED}", number(spread.pooled))
            for name, spread in validation.metrics.items()
            if name in ("auc", "accuracy", "r2", "mae")
        ],
        held_out=held_out(validation),
    )


def _curves(validation: CrossValidation) -> Figure:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="round", ylabel="loss")
    for run in validation.completed:
        heights = [float("nan") if value is None else value for value in run.validation]
        line(axes, range(1, len(heights) + 1), heights, f"fold {run.fold}", run.fold - 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=5, fontsize=9)
    return figure
