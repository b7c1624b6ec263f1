"""Measure what joining pods is worth, and write docs/study.md with its plots and figures.

    python scripts/study.py            every row that docs/study/results.json does not have yet, then the page
    python scripts/study.py --page     the page and the plots alone
    python scripts/study.py --small    one small row, printed as JSON; nothing is written

Rows are saved as they finish, so a study that was interrupted goes on where it stopped.
"""

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fl_app.files import replace_file  # noqa: E402
from scripts.joining import page, plots  # noqa: E402
from scripts.joining.rows import Row, measure  # noqa: E402
from scripts.joining.study import SMALL, STUDY  # noqa: E402


def main() -> None:
    """Carry out what the command line asks for."""
    parser = argparse.ArgumentParser(description="Measure what joining pods is worth.")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="where study.md and study/ are written")
    parser.add_argument("--page", action="store_true", help="write the page of the rows there are; train nothing")
    parser.add_argument("--small", action="store_true", help="one small row, as JSON on stdout")
    given = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    if given.small:
        print(json.dumps(measure(SMALL)))
        return
    directory = given.output / "study"
    directory.mkdir(parents=True, exist_ok=True)
    results = directory / "results.json"
    found: list[dict[str, Any]] = json.loads(results.read_text()) if results.exists() else []
    if not given.page:
        for row in STUDY:
            if not any(entry["row"] == asdict(row) for entry in found):
                found.append(_measured(row, len(found)))
                replace_file(results, (json.dumps(found, indent=1) + "\n").encode())
    plots.write(found, directory)
    replace_file(given.output / "study.md", page.text(found).encode())


def _measured(row: Row, done: int) -> dict[str, Any]:
    entry = measure(row)
    print(f"{done + 1}/{len(STUDY)} {row}: {entry['secure']['auc']:.4f} in {entry['seconds']:.0f} s", file=sys.stderr)
    return entry


if __name__ == "__main__":
    main()
