"""Results as files: one JSON document a benchmark, and a page with their tables, the machine and the date."""

import json
from pathlib import Path
from typing import Any

from fl_app.system.files import replace_file

NAMES = ("core", "wire", "memory", "rounds")
_HEAD = """\
# Benchmarks

Written by `fl-app bench --output {directory}` (`make bench`). Compare within one table only: every ratio is of figures
that were taken in turn within one run.
"""
_TITLES = {
    "core": "Core: nanoseconds per element, one process",
    "wire": "Wire: bytes per parameter of a pod's message",
    "memory": "Peak memory, in masked vectors beyond the start",
    "rounds": "Whole rounds: seconds per round",
}


def write(directory: Path, name: str, document: dict[str, Any]) -> None:
    """Write one benchmark's document, and the page anew from all documents that are there."""
    directory.mkdir(parents=True, exist_ok=True)
    replace_file(directory / f"{name}.json", (json.dumps(document, indent=1) + "\n").encode())
    kept = {n: json.loads((directory / f"{n}.json").read_text("utf-8")) for n in NAMES if _there(directory, n)}
    sections = [_HEAD.format(directory=directory.name), *(_section(directory, n, kept[n]) for n in kept)]
    replace_file(directory / "README.md", "\n".join(sections).encode())


def _there(directory: Path, name: str) -> bool:
    return (directory / f"{name}.json").exists()


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


def markdown(heads: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]
