"""Results as files: one JSON document a benchmark, and a page with their tables, the machine and the date."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Result
from fl_app.system.files import replace_file

NAMES = ("core", "wire", "memory", "serverapp", "rounds", "cohorts", "hub")
_HEAD = """\
# Benchmarks

Written by `python -m benchmarks --output {directory}`. Compare within one table only: every ratio is of figures that
were taken in turn within one run.
"""
_TITLES = {
    "core": "Core: nanoseconds per element, one process",
    "wire": "Wire: bytes per parameter of a pod's message",
    "memory": "Peak memory, in masked vectors beyond the start",
    "serverapp": "Peak memory of a ServerApp in a real deployment, FedAvg",
    "rounds": "Whole rounds: seconds per round",
    "cohorts": "Cohorts of many pods: processor time in one process",
    "hub": "Pages of the hub: milliseconds from request to answer, in one process",
}


def write(directory: Path, name: str, result: Result) -> None:
    """Write one benchmark's document and picture, and the page anew from all documents in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    if result.plot is not None:
        result.plot(directory / f"{name}.png")
    document = {**result.document(), "heads": result.heads, "rows": result.rows}
    replace_file(directory / f"{name}.json", (json.dumps(document, indent=1) + "\n").encode())
    write_page(directory)


def write_page(directory: Path) -> None:
    """Write README.md from the documents that are in ``directory``."""
    paths = {name: directory / f"{name}.json" for name in NAMES}
    documents = {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.exists()}
    sections = [_section(directory, name, document) for name, document in documents.items()]
    replace_file(directory / "README.md", "\n".join([_HEAD.format(directory=directory.name), *sections]).encode())


def _section(directory: Path, name: str, document: dict[str, Any]) -> str:
    machine = document["machine"]
    taken = (
        f"{machine['date']}; {machine['processor']}, {machine['processors']} processors, {machine['memory_gb']} GB;"
        f" Python {machine['python']}; load before {machine['load']}."
    )
    lines = [f"## {_TITLES[name]}", "", taken]
    if document.get("ratios"):
        lines += ["", *markdown(["ratio", ""], [[key, f"{value:.2f}"] for key, value in document["ratios"].items()])]
    if (directory / f"{name}.png").exists():
        lines += ["", f"![{_TITLES[name]}]({name}.png)"]
    lines += ["", *markdown(document["heads"], document["rows"]), ""]
    return "\n".join(lines)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]
