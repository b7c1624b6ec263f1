"""The report of a run: curves as a picture, and a page of Markdown beside it, made of results.json alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from server.progress import METRICS
from server.run_directory import RunDirectory

REPORT, CURVES = "report.md", "curves.png"

_LEFT = {
    "statistics": "sums over the training rows, for normalisation and bins",
    "train": "update times weight, weight, training loss, and counts on the validation rows",
    "evaluate": "counts on the validation and test rows",
    "consistency": "its signature under the list of the pods whose vectors arrived",
    "unmask": "shares that open the sum over those pods, and nothing of one pod",
}
"""Kind of step -> what a pod answers."""

_OPEN = ("consistency", "unmask")


def write_report(run: RunDirectory) -> tuple[Path, Path | None]:
    """Write the report into the run's directory and return its path, and that of the curves if there are any."""
    results = run.results()
    curves = run.path / CURVES if results.get("rounds") else None
    if curves:
        draw_curves(results["rounds"], curves)
    page = run.path / REPORT
    page.write_text("\n".join(_page(run, results)) + "\n", "utf-8")
    return page, curves


def draw_curves(rounds: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw metrics and losses by round into the PNG file ``path``."""
    from matplotlib.figure import Figure  # not pyplot: a figure of its own draws with Agg, and keeps no state
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    metrics, losses = figure.subplots(1, 2)
    numbers = [entry["round"] for entry in rounds]

    def line(axes: Any, name: str, label: str, source: str | None = None) -> None:
        entries = [entry.get(source, {}) if source else entry for entry in rounds]
        values = [float("nan") if entry.get(name) is None else entry[name] for entry in entries]
        axes.plot(numbers, values, marker="o", markersize=3, label=label)

    for name in ("accuracy", "auc", "f1"):
        line(metrics, name, name)
    line(losses, "train_loss", "training")
    line(losses, "loss", "validation")
    if "test" in rounds[-1]:
        line(metrics, "auc", "auc, public test file", "test")
        line(losses, "loss", "public test file", "test")
    for axes, title in ((metrics, "metrics, validation rows of all pods"), (losses, "loss")):
        axes.set(title=title, xlabel="round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def _page(run: RunDirectory, results: Mapping[str, Any]) -> Iterator[str]:
    settings = run.configuration()
    yield f"# Run {run.name}\n"
    status = f"{results.get('status', 'starting')}, started {results.get('started', '-')}"
    yield f"{status}, {results.get('seconds', 0):.0f} seconds.\n"
    if error := results.get("error"):
        yield f"It ended with: {error}\n"
    yield from _settings(settings)
    yield from _cohort(results)
    if rounds := results.get("rounds"):
        yield "## Results\n"
        yield f"![metrics and losses by round]({CURVES})\n"
        yield from _figures(rounds, results)
    yield from _confusion(results)
    yield from _traffic(results)
    yield from _what_left(results)


def _settings(settings: Mapping[str, Any]) -> Iterator[str]:
    if not settings:
        return
    yield "## Settings\n"
    structure, optimizer = settings["datastructure"], settings["optimizer"]
    unit = "epochs" if settings["local_epochs"] else "steps"
    yield from _table(
        ("setting", "value"),
        [
            ("target", structure["target"]),
            ("ignored columns", ", ".join(structure["ignore_cols"]) or "none"),
            ("network", settings["architecture"]),
            ("rounds", settings["rounds"]),
            (f"{unit} in a round", settings[f"local_{unit}"]),
            ("batch size", settings["batch_size"]),
            ("optimizer", f"{optimizer['name']} {optimizer['params']}"),
            ("strategy", f"{settings['strategy']} {settings['strategy_params'] or ''}"),
            ("weighting", settings["weighting"]),
            ("seed", settings["seed"]),
        ],
    )


def _cohort(results: Mapping[str, Any]) -> Iterator[str]:
    if pods := results.get("pods"):
        yield "## Pods\n"
        rows = [(pod["name"], f"`{pod['key']}`", ", ".join(pod["approves"]) or "none") for pod in pods]
        yield from _table(("pod", "key", "approves"), rows)
    for difference in results.get("schema_differences", []):
        yield f"- {difference}"
    if results.get("schema_differences"):
        yield ""
    if matrix := results.get("approvals"):
        yield "## Approvals\n"
        yield from _table(matrix[0], matrix[1:])


def _figures(rounds: Sequence[Mapping[str, Any]], results: Mapping[str, Any]) -> Iterator[str]:
    rows: list[tuple[str, Mapping[str, Any]]] = [(f"round {entry['round']}, validation", entry) for entry in rounds]
    rows += [("final, pods' test rows", results["final"])] if "final" in results else []
    rows += [("public test file", results["test"])] if "test" in results else []
    heads = ("rows", *METRICS, "examples")
    yield from _table(
        heads,
        [(label, *(_number(row.get(name)) for name in METRICS), row.get("num_examples", "-")) for label, row in rows],
    )
    clipped = sum(entry.get("clipped", 0) for entry in rounds)
    yield f"Elements of updates clipped at the declared bound, in all rounds: {clipped}.\n"
    for skipped in results.get("skipped", []):
        yield f"- round {skipped['round']} was skipped: {skipped['why']}\n"


def _confusion(results: Mapping[str, Any]) -> Iterator[str]:
    if matrix := results.get("confusion"):
        yield "## Confusion matrix\n"
        yield "All pods' test rows together; true classes down, predicted ones across.\n"
        classes = results["classes"]
        yield from _table(("", *classes), [(name, *row) for name, row in zip(classes, matrix, strict=True)])


def _traffic(results: Mapping[str, Any]) -> Iterator[str]:
    if steps := results.get("secure_aggregation", {}).get("steps"):
        yield "## Time and bytes by step\n"
        rows = [
            (kind, cost["messages"], cost["bytes_out"], cost["bytes_in"], f"{sum(cost['seconds']):.1f}")
            for kind, cost in steps.items()
        ]
        yield from _table(("step", "messages", "bytes to the pods", "bytes from the pods", "seconds"), rows)


def _what_left(results: Mapping[str, Any]) -> Iterator[str]:
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
        rows.append((f"{kind}: {_LEFT.get(kind, kind)}", form, f"{cost['bytes_in'] // max(cost['messages'], 1):,}"))
    yield "## What left each pod\n"
    yield from _table(("what", "in what form", "bytes a message"), rows)
    yield "No row of a table left any pod."


def _table(heads: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    for row in (heads, ["---"] * len(heads), *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
    yield ""


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"
