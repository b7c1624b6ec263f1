"""The page of a run: what was asked, who took part, how good the model is, what left the pods and what it cost."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from server.display.progress import METRICS
from server.display.report.html import Markup, bullets, pairs, section, table, tag
from server.display.report.style import STYLE

CAPTIONS = {
    "curves": ("Metrics by round", "On the validation rows of all pods together, from summed counts."),
    "loss": ("Loss by round", "Mean cross entropy."),
    "roc": ("ROC", "Pods' test rows, from summed score histograms; the area under a curve is the AUC."),
    "calibration": ("Calibration", "Pods' test rows in ten groups by score; a dot's area grows with its rows."),
}
_LEFT = {
    "statistics": "sums over the training rows, for normalisation and bins",
    "train": "update times weight, weight, training loss, and counts on the validation rows",
    "evaluate": "counts on the validation and test rows",
    "consistency": "its signature under the list of the pods whose vectors arrived",
    "unmask": "shares that open the sum over those pods, and nothing of one pod",
}
"""Kind of step -> what a pod answers."""
_OPEN = ("consistency", "unmask")
# Nothing may be loaded from anywhere, whatever a name in the results says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(
    name: str, settings: Mapping[str, Any], results: Mapping[str, Any], drawings: Mapping[str, Markup]
) -> Iterator[str]:
    """Write the page.

    Parameters
    ----------
    name : str
        The run's.
    settings : mapping
        Its config.json, empty where nothing was trained.
    results : mapping
        Its results.json.
    drawings : mapping
        Pictures as SVG, by the names in `CAPTIONS`.
    """
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
    yield f"{tag('title', f'Run {name}')}\n<style>{STYLE}</style></head>\n<body><main>\n"
    parts = (
        _head(name, settings, results),
        _tiles(results),
        _plots("Training", ("curves", "loss"), drawings),
        _quality(results, drawings),
        _figures(results),
        _cohort(results),
        _what_left(results),
        _traffic(results),
        _settings(settings, results),
    )
    for part in parts:
        yield from (f"{piece}\n" for piece in part)
    yield tag("footer", f"Written by fl-app {version('fl-app')} from results.json; it loads nothing from anywhere.")
    yield "\n</main></body></html>\n"


def _head(name: str, settings: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Markup]:
    status = results.get("status", "starting")
    yield tag("h1", f"Run {name} ", tag("span", status, klass=f"status {'yes' if status == 'completed' else 'no'}"))
    started = str(results.get("started", "-")).replace("T", " ").replace("+00:00", " UTC")
    said = [f"started {started}", f"{results.get('seconds', 0):.0f} seconds"]
    if settings:
        pods = len(results.get("pods") or settings["pods"])
        said = [f"{pods} pods", f"{len(results.get('rounds', []))} of {settings['rounds']} rounds", *said]
    yield tag("p", " · ".join(said), klass="lead")
    if stopped := results.get("stopped"):
        kept = f", and the model kept is that of round {results['kept']}" if "kept" in results else ""
        yield tag("p", f"Training ended with round {stopped['round']}: {stopped['why']}{kept}.", klass="lead")
    if error := results.get("error"):
        yield tag("p", f"It ended with: {error}", klass="error")


def _tiles(results: Mapping[str, Any]) -> Iterator[Markup]:
    if final := results.get("final"):
        shown = [(name, _number(final.get(name))) for name in ("auc", "accuracy", "f1", "brier")]
        shown.append(("test rows of all pods", f"{final.get('num_examples', 0):,}"))
        yield tag("div", *(tag("div", tag("b", value), tag("span", name)) for name, value in shown), klass="tiles")


def _plots(title: str, names: Sequence[str], drawings: Mapping[str, Markup], *more: Markup) -> Iterator[Markup]:
    drawn = [
        tag("figure", tag("h3", CAPTIONS[name][0], id=name), drawings[name], tag("figcaption", CAPTIONS[name][1]))
        for name in names
        if name in drawings
    ]
    if drawn or more:
        yield section(title, *([tag("div", *drawn, klass="plots")] if drawn else []), *more)


def _quality(results: Mapping[str, Any], drawings: Mapping[str, Markup]) -> Iterator[Markup]:
    more: list[Markup] = []
    if matrix := results.get("confusion"):
        rows = [
            (name, *(_shaded(count, sum(row)) for count in row))
            for name, row in zip(results["classes"], matrix, strict=True)
        ]
        more = [
            tag("h3", "Confusion matrix"),
            table(("true \\ predicted", *results["classes"]), rows, klass="matrix"),
            tag("p", "Pods' test rows; the share is of the rows of the true class.", klass="note"),
        ]
    yield from _plots("How good the model is", ("roc", "calibration"), drawings, *more)


def _shaded(count: int, of: int) -> Markup:
    share = count / of if of else 0.0
    return tag("td", f"{count:,}", tag("small", f"{share:.1%}"), style=f"--share:{share:.3f}")


def _figures(results: Mapping[str, Any]) -> Iterator[Markup]:
    rounds = results.get("rounds", [])
    if not rounds:
        return
    rows: list[tuple[str, Mapping[str, Any]]] = [(f"round {entry['round']}, validation", entry) for entry in rounds]
    rows += [("final, pods' test rows", results["final"])] if "final" in results else []
    rows += [("public test file", results["test"])] if "test" in results else []
    heads = ("rows", *METRICS, "examples", "clipped", "seconds")
    cells = [
        (
            label,
            *(_number(row.get(name)) for name in METRICS),
            *(f"{row[name]:,}" if name in row else "-" for name in ("num_examples", "clipped")),
            f"{row['seconds']:.1f}" if "seconds" in row else "-",
        )
        for label, row in rows
    ]
    clipped = sum(entry.get("clipped", 0) for entry in rounds)
    bound = results.get("secure_aggregation", {}).get("update_bound")
    where = f"the declared bound{f' of {bound:g}' if bound else ''}"
    said = f"Elements of updates clipped at {where}, in all rounds: {clipped:,}."
    lost = [
        f"round {entry['round']} went on without {pod}: {_why(loss)}"
        for entry in rounds
        for pod, loss in (entry.get("lost") or {}).items()
    ]
    lost += [f"round {skipped['round']} was skipped: {skipped['why']}" for skipped in results.get("skipped", [])]
    yield section(
        "Figures",
        table(heads, cells, klass="figures full"),
        tag("p", said, klass="note"),
        *([bullets(lost)] if lost else []),
    )


def _why(loss: Any) -> str:
    return ", ".join(str(value) for value in loss.values()) if isinstance(loss, Mapping) else str(loss)


def _cohort(results: Mapping[str, Any]) -> Iterator[Markup]:
    content: list[Markup] = []
    if pods := results.get("pods"):
        content.append(table(("pod", "key"), [(pod["name"], tag("code", pod["key"])) for pod in pods], klass="stack"))
    if matrix := results.get("approvals") or _matrix(results.get("pods") or []):
        rows = [(row[0], *map(_approval, row[1:])) for row in matrix[1:]]
        heads = ("pod", *(f"approves {name}" for name in matrix[0][1:]))
        content += [tag("h3", "Who approves whom"), table(heads, rows, klass="stack")]
    if differences := results.get("schema_differences"):
        summary = tag("summary", f"{len(differences)} differences between the pods' schemas")
        content.append(tag("details", summary, bullets(differences)))
    if content:
        yield section("Cohort", *content)


def _matrix(pods: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Lay out who approves whom, in the form in which a refused cohort tells it."""
    names = [pod["name"] for pod in pods]
    rows = [
        [
            pod["name"],
            *("-" if other == pod["name"] else "yes" if other in pod["approves"] else "no" for other in names),
        ]
        for pod in pods
    ]
    return [["approves", *names], *rows] if rows else []


def _approval(cell: str) -> Any:
    return tag("span", cell, klass=cell if cell in ("yes", "no") else "lead")


def _what_left(results: Mapping[str, Any]) -> Iterator[Markup]:
    secure = results.get("secure_aggregation")
    if not secure:
        return
    masked = "masked: only the sum over the pods can be read" if secure["enabled"] else "in the clear"
    rows = [
        ("name, public keys, signatures", "in the clear", "-"),
        ("its schema: columns, frequent categories, public bounds; whom of these pods it approves", "published", "-"),
    ]
    if secure["enabled"]:
        rows.append(("shares of its masks, one set for each other pod", "sealed to that pod, passed on", "-"))
    for kind, cost in secure["steps"].items():
        form = "in the clear" if kind in _OPEN else masked
        rows.append((f"{kind}: {_LEFT.get(kind, kind)}", form, _bytes(cost["bytes_in"] // max(cost["messages"], 1))))
    yield section(
        "What left each pod",
        table(("what", "in what form", "in a message"), rows, klass="full stack"),
        tag("p", "No row of a table left any pod."),
    )


def _traffic(results: Mapping[str, Any]) -> Iterator[Markup]:
    steps = results.get("secure_aggregation", {}).get("steps")
    if not steps:
        return
    columns = [
        {kind: sum(cost["seconds"]) for kind, cost in steps.items()},
        *({kind: cost[name] for kind, cost in steps.items()} for name in ("bytes_out", "bytes_in")),
    ]
    most = [max(column.values(), default=0) or 1 for column in columns]
    rows = [
        (
            kind,
            cost["messages"],
            *(
                _bar(f"{column[kind]:.1f} s" if position == 0 else _bytes(column[kind]), column[kind] / most[position])
                for position, column in enumerate(columns)
            ),
        )
        for kind, cost in steps.items()
    ]
    heads = ("step", "messages", "time", "to the pods", "from the pods")
    yield section("Time and bytes by step", table(heads, rows, klass="steps full"))


def _bar(text: str, share: float) -> Markup:
    return tag("td", tag("span", text, tag("i", style=f"width:{share:.0%}"), klass="bar"), klass="number")


def _settings(settings: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[Markup]:
    if not settings:
        return
    structure, optimizer = settings["datastructure"], settings["optimizer"]
    unit = "epochs" if settings["local_epochs"] else "steps"
    secure = results.get("secure_aggregation", {})
    threshold = secure.get("threshold")
    rows = [
        ("target", structure["target"]),
        ("ignored columns", ", ".join(structure["ignore_cols"]) or "none"),
        ("network", settings["architecture"]),
        ("rounds", settings["rounds"]),
        (f"{unit} in a round", settings[f"local_{unit}"]),
        ("batch size", settings["batch_size"]),
        ("optimizer", f"{optimizer['name']}, {_params(optimizer['params'])}"),
        ("learning rate left in the last round", f"{settings['lr_decay']:g} of it"),
        ("strategy", ", ".join(filter(None, (settings["strategy"], _params(settings["strategy_params"]))))),
        ("early stopping", _params(settings.get("early_stopping") or {}) or "none"),
        ("weighting", settings["weighting"]),
        ("seed", settings["seed"]),
        ("secure aggregation", "on" if settings["secure"] else "off"),
        ("field", f"integers modulo 2^{(settings['prime_q'] + 1).bit_length() - 1} - 1"),
        ("answers that make a sum", threshold if threshold else "-"),
    ]
    yield section("Settings", pairs(rows))


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in params.items())


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"
