"""Measure what joining pods is worth, and write docs/study.md with its plots and figures.

    python scripts/study.py            every row that docs/study/results.json does not have yet, then the page
    python scripts/study.py --page     the page and the plots alone
    python scripts/study.py --small    one small row, printed as JSON; nothing is written

Rows are saved as they finish, so a study that was interrupted goes on where it stopped. ``--jobs 2`` trains two rows
at a time; what a row gives does not depend on it.
"""

import argparse
import json
import logging
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.joining import page, plots  # noqa: E402
from benchmarks.joining.rows import Row, measure  # noqa: E402
from benchmarks.joining.study import SMALL, STUDY  # noqa: E402
from fl_app.system.files import replace_file  # noqa: E402


def main() -> None:
    """Carry out what the command line asks for."""
    parser = argparse.ArgumentParser(description="Measure what joining pods is worth.")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="where study.md and study/ are written")
    parser.add_argument("--page", action="store_true", help="write the page of the rows there are; train nothing")
    parser.add_argument("--small", action="store_true", help="one small row, as JSON on stdout")
    parser.add_argument("--jobs", type=int, default=1, help="rows trained at a time")
    given = parser.parse_args()
    if given.small:
        print(json.dumps(_measured(SMALL)))
        return
    directory = given.output / "study"
    directory.mkdir(parents=True, exist_ok=True)
    results = directory / "results.json"
    found: list[dict[str, Any]] = json.loads(results.read_text()) if results.exists() else []
    if not given.page:
        known = [entry["row"] for entry in found]
        for entry in _trained([row for row in STUDY if asdict(row) not in known], given.jobs):
            found.append(entry)
            replace_file(results, (json.dumps(found, indent=1) + "\n").encode())
            said = f"{entry['row']}: {entry['secure']['auc']:.4f} in {entry['seconds']:.0f} s"
            print(f"{len(found)}/{len(STUDY)} {said}", file=sys.stderr)
        found = _in_order(found)
        replace_file(results, (json.dumps(found, indent=1) + "\n").encode())
    plots.write(found, directory)
    replace_file(given.output / "study.md", page.text(found).encode())


def _trained(rows: Sequence[Row], jobs: int) -> Iterator[dict[str, Any]]:
    """Give the figures of each row as it finishes."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_measured, rows)


def _measured(row: Row) -> dict[str, Any]:
    logging.getLogger("flwr").setLevel(logging.WARNING)
    torch.set_num_threads(1)  # as the pods do; another number of threads rounds otherwise
    return measure(row)


def _in_order(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the study's rows in the study's order, and none that it no longer has."""
    by_row = {json.dumps(entry["row"]): entry for entry in found}
    return [by_row[key] for row in STUDY if (key := json.dumps(asdict(row))) in by_row]


if __name__ == "__main__":
    main()
