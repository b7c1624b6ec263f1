"""The file of what has been measured: cases are trained once, and those no longer in the study go."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.privacy.cases import CASES, Entry, measure
from fl_app.system.files import replace_file

FILE = "private.json"


def read(directory: Path) -> list[Entry]:
    """Return the entries in a directory; none if there is no file."""
    path = directory / FILE
    entries: list[Entry] = json.loads(path.read_text("utf-8")) if path.exists() else []
    return entries


def train_missing(directory: Path) -> list[Entry]:
    """Train the cases that the file lacks, one after the other, each saved as it finishes; return all in order."""
    entries = read(directory)
    known = [entry["case"] for entry in entries]
    for case in CASES:
        if asdict(case) in known:
            continue
        entries.append(entry := measure(case))
        _save(entries, directory)
        click.echo(f"{case}: {entry['auc']:.4f}, {entry['accuracy']:.4f} in {entry['seconds']:.0f} s", err=True)
    by_case = {json.dumps(entry["case"]): entry for entry in entries}
    entries = [by_case[json.dumps(asdict(case))] for case in CASES]
    _save(entries, directory)
    return entries


def _save(entries: Sequence[Entry], directory: Path) -> None:
    replace_file(directory / FILE, (json.dumps(entries, indent=1) + "\n").encode())
