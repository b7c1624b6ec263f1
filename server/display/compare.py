"""Several runs side by side: the settings in which they differ, their figures, and their curves in one picture."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.display.privacy_told import HEADLINE, privacy_line
from server.display.words import METRICS, NUMERIC_METRICS

DRAWN, DRAWN_OF_NUMBERS = ("auc", "loss"), ("r2", "loss")


def compare(runs: Sequence[RunDirectory]) -> dict[str, dict[str, list[Any]]]:
    """Return ``{"settings": ..., "figures": ...}``: rows by name, with a value for each run, None where it has none.

    Of the settings only those in which the runs differ are among them.
    """
    settings = [dict(_flat(run.settings())) for run in runs]
    names = dict.fromkeys(name for one in settings for name in one)
    rows = {name: [one.get(name) for one in settings] for name in names}
    differing = {name: row for name, row in rows.items() if any(value != row[0] for value in row)}
    return {"settings": differing, "figures": _figures([run.results() for run in runs])}


def _figures(results: Sequence[Results]) -> dict[str, list[Any]]:
    figures: dict[str, list[Any]] = {
        "status": [one.status or "starting" for one in results],
        "rounds": [len(one.rounds) for one in results],
        "seconds": [one.seconds for one in results],
        "bytes from the pods": [_bytes_in(one) for one in results],
    }
    if any(one.private for one in results):
        figures["privacy"] = [privacy_line(one.privacy) or None for one in results]
    parts = (
        ("pods' test rows", [one.final for one in results]),
        ("public test file", [one.test for one in results]),
    )
    for label, metrics in parts:
        for name in dict.fromkeys((*METRICS, *NUMERIC_METRICS)):
            values = [getattr(one, name, None) for one in metrics]
            if any(value is not None for value in values):
                figures[f"{name}, {label}"] = values
            deviations = [one.deviations.get(name) if one else None for one in metrics]
            if name in HEADLINE and any(value is not None for value in deviations):
                figures[f"{name}, {label}, deviation by noise"] = deviations
    return figures


def draw(runs: Sequence[RunDirectory]) -> bytes:
    """Draw AUC and loss by round, a line for each run, or R2 and loss if all learn numbers; PNG.

    They are those on the validation rows of each run's pods. If one of the runs is private, of which pods evaluate the
    last round alone, they are those on the public test file, so far as all have them.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from server.display.report.plots import LOOK, SIZE, line, png

    drawn = curves(runs)
    with rc_context(LOOK):
        figure = Figure(figsize=(2 * SIZE[0], SIZE[1]), layout="constrained")
        for axes, (label, lines) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
            for position, (name, points) in enumerate(lines):
                line(axes, [x for x, _ in points], [y for _, y in points], name, position)
            axes.set(xlabel="round", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        return png(figure)


def curves(runs: Sequence[RunDirectory]) -> dict[str, list[tuple[str, list[tuple[int, float]]]]]:
    """Return what `draw` draws: by the label of each picture, a run's name and its points, a round and a value each."""
    found = [run.results() for run in runs]
    public = any(one.private for one in found) and all(any(entry.test for entry in one.rounds) for one in found)
    drawn = DRAWN_OF_NUMBERS if all(one.regression for one in found) else DRAWN
    rows = "public test file" if public else "validation rows"
    return {
        f"{metric}, {rows}": [
            (_named(run, results), _points(results, metric, public=public))
            for run, results in zip(runs, found, strict=True)
        ]
        for metric in drawn
    }


def _named(run: RunDirectory, results: Results) -> str:
    epsilon = results.privacy.epsilon if results.privacy else None
    return run.name if epsilon is None else f"{run.name}, epsilon {epsilon:g}"


def _points(results: Results, metric: str, *, public: bool) -> list[tuple[int, float]]:
    points = [
        (entry.round, getattr(entry.test if public else entry, metric, None))
        for entry in (results.rounds if public else results.evaluated)
    ]
    return [(number, value) for number, value in points if value is not None]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _bytes_in(results: Results) -> int | None:
    aggregation = results.secure_aggregation
    return aggregation.bytes_in if aggregation and aggregation.steps else None
