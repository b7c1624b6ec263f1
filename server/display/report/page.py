"""The page of a run: the request, the cohort, how good the model is, what left the pods, and what it cost.

This module prepares what page.html.j2 shows.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from markupsafe import Markup
from rich.filesize import decimal

from fl_app.privacy.plan import CLIP
from fl_app.validation import counted
from server.app.results import AggregationResult, Metrics, PodResult, Results
from server.display import description, importance
from server.display.groups import groups_told, heads, rows
from server.display.privacy_told import NOISE, spreads
from server.display.report.style import PALETTE
from server.display.rows_told import rows_told
from server.display.scored_rows import figures_told, scored_rows
from server.display.templates import render
from server.display.training_told import comparison_told, optimizer_told
from server.display.words import INTERVAL, Scored, metrics_by_rows, metrics_named, number, ranges

CAPTIONS = {
    "curves": ("Metrics by round", "On the validation rows of all pods together, from summed counts."),
    "loss": ("Loss by round", "Mean cross entropy."),
    "roc": ("ROC", "From score histograms, of pods summed; the area under a curve is the AUC."),
    "distributions": (
        "Columns",
        "Rows by number, from the first to the last hundredth with the quartiles dashed, and by category.",
    ),
    "balance": ("Classes within each column", "Shares of the rows; only where there are more than noise could make."),
    "pairs": (
        "Predicted and observed",
        "Test rows in groups of about as many training rows each, by predicted and by observed value; the darker, the "
        "larger the share of the observed group.",
    ),
    "importance": (
        "Importance of columns",
        "Rise of the loss on the pods' test rows once a column is shuffled among each pod's, with its 95% interval.",
    ),
    "calibration": ("Calibration", "Test rows in ten groups by score; a dot's area grows with its rows."),
}
"""Name of a picture -> its heading and caption."""
_PRIVATE_CAPTIONS = {
    "curves": ("Metrics by round", "On the public test file: pods evaluate no round of a private run but the last."),
    "loss": ("Loss by round", "Mean cross entropy on the public test file."),
}
_ANSWERS = {
    "statistics": "sums over the training rows for normalisation and bins, and rows by label",
    "train": "update times weight, weight, training loss, and counts on the validation rows",
    "evaluate": "counts on the validation and test rows",
    "consistency": "its signature under the list of the pods whose vectors arrived",
    "unmask": "shares that open the sum over those pods, and nothing of one pod",
}
"""Kind of step -> a pod's answer."""
_PRIVATE_ANSWERS = {
    "statistics": "counts of the training rows by the value of each column, and by label, with its share of the noise",
    "train": "the sum of its training rows' gradients, each clipped, with its share of the noise",
    "evaluate": "counts on the validation and test rows, with its share of the noise",
}
"""The same of a private run, where it is something else."""
_DESCRIBED_ANSWERS = {
    "statistics": "sums over its rows by number, category and class, with its share of the noise",
}
"""The same of a run that describes tables."""
_NOT_MASKED = ("consistency", "unmask")
_VERIFIED = (
    "No pod sent a row of its table. Each worked out for itself what to train and to count, from schemas that the pods "
    "had signed and from sums that it had verified. What the sums of training tell of single rows is not bounded: only "
    "the statistics carry noise."
)
_PRIVATE = (
    "No pod sent a row of its table. Each worked out for itself what to train and to count, from schemas that the pods "
    "had signed and from sums that it had verified, and added its share of the noise that hides each row in a sum."
)
_DESCRIBED = (
    "No pod sent a row of its table. Each worked out for itself what to sum, from schemas that the pods had signed, "
    "and added its share of the noise that hides single rows."
)
_IN_CLEAR = "No pod sent a row of its table, but whoever ran the server could read each pod's values."
_TILES, _NUMERIC_TILES = ("auc", "accuracy", "f1", "brier"), ("r2", "mae", "rmse")
_NUMERIC_CAPTIONS = {"loss": ("Loss by round", "Mean {} error in standard deviations of the target.")}


_OPEN = "follows from the table"
"""Settings that were left open, in a run that ended before it knew of the table."""


def page(name: str, settings: Mapping[str, Any], results: Results, drawings: Mapping[str, Markup]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    name : str
        The run's.
    settings : mapping
        The run's settings as they were written, empty where nothing was trained.
    drawings : mapping
        Pictures as SVG, by the names in `CAPTIONS`.
    """
    return render(
        "display/report/page.html.j2",
        name=name,
        palette=PALETTE,
        captions={**CAPTIONS, **(_PRIVATE_CAPTIONS if results.private else {}), **_numeric_captions(results)},
        drawings=drawings,
        version=version("fl-app"),
        **contents(settings, results),
    )


def contents(settings: Mapping[str, Any], results: Results) -> dict[str, Any]:
    """Return what a page says of a run, all but its pictures: the report, and the hub's page of the run.

    Raises
    ------
    KeyError
        If the settings lack one: another version wrote them.
    """
    aggregation = results.secure_aggregation
    return {
        "results": results,
        "lead": _lead(settings, results),
        "rows_told": list(rows_told(results)),
        "description": _description(results),
        "tiles": _tiles(results),
        "scored": scored_rows(results).label,
        "figures_told": list(figures_told(results)),
        "confusion": _confusion(results),
        "metrics": metrics_named(results),
        "figures": _figures(results, [row for row in metrics_by_rows(results) if not _public_only(row)]),
        "final_figures": _figures(results, [row for row in metrics_by_rows(results) if row.round is None]),
        "public_rounds": _figures(results, list(filter(_public_only, metrics_by_rows(results)))),
        "groups": results.groups,
        "group_heads": heads(results.groups) if results.groups else [],
        "group_rows": list(rows(results.groups)) if results.groups else [],
        "groups_told": list(groups_told(results.groups)) if results.groups else [],
        "importance": results.importance,
        "importance_heads": importance.heads(results.importance) if results.importance else [],
        "importance_rows": list(importance.rows(results.importance)) if results.importance else [],
        "importance_told": list(importance.importance_told(results.importance)) if results.importance else [],
        "clipped": _clipped(results),
        "privacy": results.privacy,
        "costs": _costs(results),
        "losses": list(_losses(results)),
        "differences": counted(len(results.schema_differences), "difference"),
        "approvals": _approvals(results),
        "messages": _messages(aggregation, _answers(results)) if aggregation else [],
        "summary": _summary(results),
        "traffic": _traffic(aggregation) if aggregation else [],
        "settings": [*(_settings(settings, aggregation) if settings else []), *_compared(results)],
    }


def _lead(settings: Mapping[str, Any], results: Results) -> list[str]:
    started = (results.started or "-").replace("T", " ").replace("+00:00", " UTC")
    parts = [f"started {started}", f"{results.seconds or 0:.0f} seconds"]
    if settings:
        pods = len(results.pods or settings["pods"])
        most = settings["rounds"]
        rounds = (
            counted(len(results.rounds), "round")
            if most is None
            else f"{len(results.rounds)} of {counted(most, 'round')}"
        )
        parts = [counted(pods, "pod"), "a description" if settings.get("describes") else rounds, *parts]
    return parts


def _tiles(results: Results) -> list[tuple[str, str]]:
    shown = scored_rows(results)
    if not shown.metrics:
        return []
    metrics, names = shown.metrics, _NUMERIC_TILES if results.regression else _TILES
    tiles = [(f"{name}{_noise(metrics, name)}", number(getattr(metrics, name))) for name in names]
    tiles.append((shown.label, f"{metrics.num_examples or 0:,}"))
    if (public := results.test) and metrics is not public:
        first = number(getattr(public, names[0]))
        tiles += [(f"{names[0]}, public test file", first), ("rows of it", f"{public.num_examples:,}")]
    return tiles


def _numeric_captions(results: Results) -> dict[str, tuple[str, str]]:
    if not (regression := results.regression):
        return {}
    return {name: (head, text.format(regression.loss)) for name, (head, text) in _NUMERIC_CAPTIONS.items()}


def _noise(metrics: Metrics, name: str) -> str:
    """Return what a tile says of the noise of a private run in its figure."""
    return f", ±{metrics.deviations[name]:.4f} by noise" if name in metrics.deviations else ""


def _description(results: Results) -> Mapping[str, Any] | None:
    """Return what the page shows of a description: sentences, tables by their titles, and rows by class."""
    if not (described := results.description):
        return None
    tables = [
        ("Numbers", description.NUMBERS, description.numbers(described)),
        ("Categories", description.CATEGORIES, description.categories(described)),
    ]
    heads = ("column", "of", *described.classes)
    rows = [
        (column if not place else "", entry.cell, *map(description.rows_and_share, entry.rows, entry.shares))
        for column, entries in description.seen(described).items()
        for place, entry in enumerate(entries)
    ]
    return {
        "told": list(description.told(described)),
        "tables": [table for table in tables if table[2]],
        "balance": (f"Rows by {described.target}", heads, rows) if rows else None,
    }


def _summary(results: Results) -> str:
    if not results.secure_aggregation or not results.secure_aggregation.enabled:
        return _IN_CLEAR
    if results.description:
        return _DESCRIBED
    return _PRIVATE if results.private else _VERIFIED


def _costs(results: Results) -> list[tuple[str, str, str, str, str]]:
    """Return, for each kind of step of a private run, how often, what it costs a row, and the noise in its sums."""
    if not results.privacy:
        return []
    return [
        (
            kind,
            f"{step.steps:,}",
            f"{step.rho:.3g}",
            f"{step.rho * step.steps:.3g}",
            ", ".join(f"{what} ±{value:.3g}" for what, value in step.noise.items()) or "-",
        )
        for kind, step in results.privacy.steps.items()
    ]


def _confusion(results: Results) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return, for each true class, counts of the predicted classes and their share of the true class's rows."""
    return [
        (name, [(count, count / sum(row) if sum(row) else 0.0) for count in row])
        for name, row in zip(results.classes, scored_rows(results).confusion, strict=False)
    ]


def _public_only(row: Scored) -> bool:
    """Say whether a row is that of a round which pods have not evaluated: of a private run there are a hundred."""
    return row.round is not None and row.metrics is not row.round


def _figures(results: Results, scored: Sequence[Scored]) -> list[tuple[str, list[str]]]:
    if not results.rounds:
        return []
    rows = []
    for label, metrics, entry in scored:
        cells = [number(getattr(metrics, name)) for name in metrics_named(results)]
        cells.append("-" if metrics.num_examples is None else f"{metrics.num_examples:,}")
        rows.append((label, [*cells, *((f"{entry.clipped:,}", f"{entry.seconds:.1f}") if entry else ("-", "-"))]))
        if metrics.deviations:
            rows.append((NOISE, [*spreads(metrics), "-", "-"]))
        if metrics.intervals:
            rows.append((INTERVAL, [*ranges(metrics, metrics_named(results)), "", ""]))
    return rows


def _clipped(results: Results) -> str:
    if results.private:
        return f"Each row's gradient was clipped to a norm of {CLIP:g} at its pod; how many were, nobody is told."
    clipped = sum(entry.clipped for entry in results.rounds)
    bound = results.secure_aggregation.update_bound if results.secure_aggregation else 0
    where = f"the declared bound{f' of {bound:g}' if bound else ''}"
    return f"Elements of updates clipped at {where}, in all rounds: {clipped:,}."


def _losses(results: Results) -> Iterator[str]:
    for entry in results.rounds:
        for pod, loss in entry.lost.items():
            yield f"round {entry.round} went on without {pod}: {loss.text}"
    for skipped in results.skipped:
        yield f"round {skipped.round} was skipped: {skipped.why}"


def _approvals(results: Results) -> tuple[list[str], list[Sequence[str]]] | None:
    """Return who approves whom: heads and rows; None if it is not known."""
    if results.approvals:
        names, rows = results.approvals[0][1:], list[Sequence[str]](results.approvals[1:])
    else:
        names = tuple(pod.name for pod in results.pods)
        rows = [[pod.name, *(_approval(pod, other) for other in names)] for pod in results.pods]
    return (["pod", *(f"approves {name}" for name in names)], rows) if rows else None


def _approval(pod: PodResult, other: str) -> str:
    if other == pod.name:
        return "-"
    return "yes" if other in pod.approves else "no"


def _answers(results: Results) -> Mapping[str, str]:
    if results.description:
        return {**_ANSWERS, **_DESCRIBED_ANSWERS}
    return {**_ANSWERS, **(_PRIVATE_ANSWERS if results.private else {})}


def _messages(aggregation: AggregationResult, answers: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return what left each pod, in what form, and how large it was."""
    masked = "masked: only the sum over the pods can be read" if aggregation.enabled else "in the clear"
    rows = [
        ("name, public keys, signatures", "in the clear", "-"),
        ("its schema: columns, frequent categories, public bounds; whom of these pods it approves", "published", "-"),
    ]
    if aggregation.enabled:
        rows.append(("shares of its masks, one set for each other pod", "sealed to that pod, passed on", "-"))
    for kind, cost in aggregation.steps.items():
        form = "in the clear" if kind in _NOT_MASKED else masked
        rows.append((f"{kind}: {answers.get(kind, kind)}", form, decimal(cost.bytes_in // max(cost.messages, 1))))
    return rows


def _traffic(aggregation: AggregationResult) -> list[tuple[str, int, list[tuple[str, float]]]]:
    """Return, for each kind of step, its messages; and time and bytes, in words and as a share of the largest."""
    steps = aggregation.steps
    seconds = {kind: sum(cost.seconds) for kind, cost in steps.items()}
    most_seconds = max(seconds.values(), default=0) or 1
    most_out = max((cost.bytes_out for cost in steps.values()), default=0) or 1
    most_in = max((cost.bytes_in for cost in steps.values()), default=0) or 1
    return [
        (
            kind,
            cost.messages,
            [
                (f"{seconds[kind]:.1f} s", seconds[kind] / most_seconds),
                (decimal(cost.bytes_out), cost.bytes_out / most_out),
                (decimal(cost.bytes_in), cost.bytes_in / most_in),
            ],
        )
        for kind, cost in steps.items()
    ]


def _settings(settings: Mapping[str, Any], aggregation: AggregationResult | None) -> list[tuple[str, Any]]:
    structure = settings["datastructure"]
    threshold = aggregation.threshold if aggregation else None
    if settings.get("describes"):
        return [
            ("target", structure["target"] or "none"),
            ("ignored columns", ", ".join(structure["ignore_cols"]) or "none"),
            ("secure aggregation", "on" if settings["secure"] else "off"),
            ("answers that make a sum", threshold or "-"),
        ]
    return [
        ("target", structure["target"]),
        ("ignored columns", ", ".join(structure["ignore_cols"]) or "none"),
        ("network", _network(settings)),
        ("rounds", settings["rounds"] or _OPEN),
        *(_private_training(settings) if settings.get("privacy") else _averaging(settings)),
        ("seed", settings["seed"]),
        ("secure aggregation", "on" if settings["secure"] else "off"),
        ("field", f"integers modulo 2^{(settings['prime_q'] + 1).bit_length() - 1} - 1"),
        ("answers that make a sum", threshold or "-"),
    ]


def _compared(results: Results) -> list[tuple[str, Any]]:
    compared = results.training and results.training.compared
    return [("networks compared", comparison_told(compared))] if compared else []


def _network(settings: Mapping[str, Any]) -> str:
    digest = settings.get("network")
    return f"own, sha256 {digest[:12]}" if digest else settings["architecture"] or _OPEN


def _averaging(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    optimizer, decay, stopping = settings["optimizer"], settings["lr_decay"], settings.get("early_stopping")
    unit = "steps" if settings["local_steps"] else "epochs"
    return [
        (f"{unit} in a round", settings[f"local_{unit}"] or _OPEN),
        ("batch size", settings["batch_size"] or _OPEN),
        ("optimizer", optimizer_told(optimizer) if optimizer else _OPEN),
        ("learning rate left in the last round", _OPEN if decay is None else f"{decay:g} of it"),
        ("strategy", ", ".join(filter(None, (settings["strategy"], _params(settings["strategy_params"]))))),
        ("early stopping", _OPEN if stopping == "auto" else _params(stopping or {}) or "none"),
        ("weighting", settings["weighting"]),
        ("privacy", "none asked for"),
    ]


def _private_training(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("a round", "one step of gradient descent over all rows"), ("privacy", _params(settings["privacy"]))]


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in params.items())
