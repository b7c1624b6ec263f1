"""Print how many attacks, mutations, fault cells and fuzz inputs stand behind SECURITY.md, from the tests' own tables.

Run it in the repository: ``python scripts/security_counts.py [--json]``.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.adversary.attacks import ATTACKS, LINES, NOT_SECURITY
from tests.adversary.checks import ROOT
from tests.faults.matrix import cells
from tests.fuzz.targets import all_targets
from tests.fuzz.test_fuzz import QUICK


def counts() -> dict[str, int]:
    """Return every count by its name."""
    faults = Counter("killed" if cell.fault == "killed" else "delayed" for cell in cells())
    targets = len(all_targets())
    long_run = re.search(r"fuzz\.py --inputs (\d+)", (ROOT / "Makefile").read_text())
    return {
        "lines of the attack list": len(LINES),
        "attacks": len({(attack.line, attack.how, attack.test) for attack in ATTACKS if attack.how != "the same"}),
        "tests of attacks": len({attack.test for attack in ATTACKS}),
        "mutations": len(ATTACKS),
        "checks taken out": len({attack.check for attack in ATTACKS}),
        "raises that guard nothing": len(NOT_SECURITY),
        "fault cells": sum(faults.values()),
        "fault cells with pods killed": faults["killed"],
        "fault cells with answers late or doubled": faults["delayed"],
        "fuzz targets": targets,
        "fuzz inputs in every test run": targets * QUICK,
        "fuzz inputs in the long run": int(long_run[1]) if long_run else 0,
    }


def attack_table() -> str:
    """Return the attacks as a Markdown table: what is tried, the check that stops it, the test that needs the check."""
    rows = ["| attack | how | stopped by | test |", "| --- | --- | --- | --- |"]
    for attack in ATTACKS:
        if attack.how != "the same":
            where = f"`{Path(attack.check.module).name}` {attack.check.function}"
            rows.append(f"| {attack.line} | {attack.how} | {where} | `{attack.test.partition('::')[2]}` |")
    return "\n".join(rows) + "\n"


def counts_table() -> str:
    """Return the counts as a Markdown table."""
    rows = ["| what | how many |", "| --- | ---: |"]
    return "\n".join([*rows, *(f"| {name} | {number:,} |" for name, number in counts().items())]) + "\n"


def page(text: str) -> str:
    """Return SECURITY.md with both tables as they are now, between their marks."""
    for name, table in (("counts", counts_table()), ("attacks", attack_table())):
        head, _, rest = text.partition(f"<!-- {name} -->\n")
        text = f"{head}<!-- {name} -->\n{table}<!-- end of {name} -->{rest.partition(f'<!-- end of {name} -->')[2]}"
    return text


@click.command()
@click.option("--write", is_flag=True, help="Write both tables into SECURITY.md.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a Markdown table.")
def main(write: bool, as_json: bool) -> None:
    """Print the counts."""
    if write:
        security = ROOT / "SECURITY.md"
        security.write_text(page(security.read_text()))
    click.echo(json.dumps(counts(), indent=2) if as_json else counts_table(), nl=as_json)


if __name__ == "__main__":
    main()
