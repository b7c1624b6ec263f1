"""Several runs side by side: in what their settings differ, how good they were, and their curves in one picture."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.app.run_directory import RunDirectory
from server.display.progress import METRICS

SHOWN = ("auc", "loss")


def compare(runs: Sequence[RunDirectory]) -> dict[str, dict[str, list[Any]]]:
    """Return ``{"settings": ..., "figures": ...}``: rows by name, with a value for each run, None where it has none.

    Of the settings only those are told in which the runs differ.
    """
    settings = [dict(_flat(run.configuration())) for run in runs]
    results = [run.results() for run in runs]
    names = dict.fromkeys(name for one in settings for name in one)
    rows = {name: [one.get(name) for one in settings] for name in names}
    figures: dict[str, list[Any]] = {
        "status": [one.get("status", "starting") for one in results],
        "rounds": [len(one.get("rounds", [])) for one in results],
        "seconds": [one.get("seconds") for one in results],
        "bytes from the pods": [_bytes_in(one) for one in results],
    }
    for part, label in (("final", "pods' test rows"), ("test", "public test file")):
        for metric in METRICS:
            values = [(one.get(part) or {}).get(metric) for one in results]
            if any(value is not None for value in values):
                figures[f"{metric}, {label}"] = values
    return {"settings": {name: row for name, row in rows.items() if any(v != row[0] for v in row)}, "figures": figures}


def draw(runs: Sequence[RunDirectory]) -> bytes:
    """Draw AUC and loss by round, on the validation rows of each run's pods, a line a run; PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from server.display.report.plots import LOOK, SIZE, line, png

    with rc_context(LOOK):
        figure = Figure(figsize=(2 * SIZE[0], SIZE[1]), layout="constrained")
        for axes, metric in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
            for position, run in enumerate(runs):
                entries = [entry for entry in run.results().get("rounds", []) if entry.get(metric) is not None]
                rounds = [entry["round"] for entry in entries]
                line(axes, rounds, [entry[metric] for entry in entries], run.name, position)
            axes.set(xlabel="round", ylabel=f"{metric}, validation rows")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        return png(figure)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _bytes_in(results: Mapping[str, Any]) -> int | None:
    steps = (results.get("secure_aggregation") or {}).get("steps")
    return sum(cost["bytes_in"] for cost in steps.values()) if steps else None
