"""The mutation run: take each named check out of a copy of the code, and see its test fail by an assertion.

::

    python -m tests.adversary.mutations
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.adversary.attacks import ATTACKS, Attack
from tests.adversary.checks import ROOT

_HERE = "tests/adversary"
_COPIED = ("fl_app", "client", "strategies", "tests", "pyproject.toml")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.csv.gz", "test_mutations.py")


@dataclass(frozen=True)
class Result:
    """What the test of an attack did without the check; ``killed`` if it failed, and by assertions alone."""

    attack: Attack
    killed: bool
    why: str


class Copy:
    """A copy of the code in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, directory / name, ignore=_LEFT_OUT)
            else:
                shutil.copy(source, directory / name)

    @contextmanager
    def without(self, attack: Attack) -> Iterator[None]:
        """Take the attack's check out, for a while."""
        path = self._directory / attack.check.module
        original = path.read_text()
        path.write_text(attack.check.disabled())
        try:
            yield
        finally:
            path.write_text(original)

    def run(self, *tests: str) -> dict[str, Any]:
        """Run tests in the copy, in a process of their own, and return what `tests.adversary.mutant` prints."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.adversary.mutant", *(f"{_HERE}/{test}" for test in tests)],
            cwd=self._directory,
            env={**os.environ, "PYTHONPATH": str(self._directory), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        try:
            outcome: dict[str, Any] = json.loads(done.stdout.rsplit("\n", 2)[-2])
        except (IndexError, ValueError):
            return {"passed": 0, "asserted": 0, "errors": [f"no result: {done.stderr[-300:]}"]}
        return outcome

    def try_out(self, attack: Attack) -> Result:
        """Run the attack's test without the check."""
        with self.without(attack):
            outcome = self.run(attack.test)
        if outcome["errors"]:
            return Result(attack, False, "fails, but not by an assertion: " + outcome["errors"][0])
        if not outcome["asserted"]:
            return Result(attack, False, "passes all the same" if outcome["passed"] else "is not found")
        return Result(attack, True, "fails")


def run_all(attacks: Sequence[Attack] = ATTACKS, jobs: int = 2) -> list[Result]:
    """Try every attack out; raises `RuntimeError` if a test fails with all checks in place."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as directory:
        local = threading.local()
        first = Copy(Path(directory) / "whole")
        outcome = first.run(*sorted({attack.test for attack in attacks}))
        if outcome["asserted"] or outcome["errors"] or not outcome["passed"]:
            raise RuntimeError(f"tests fail with every check in place: {outcome}")

        def one(attack: Attack) -> Result:
            if not hasattr(local, "copy"):
                local.copy = Copy(Path(directory) / f"copy-{threading.get_ident()}")
            result: Result = local.copy.try_out(attack)
            return result

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, attacks))


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    rows = ["| attack | how | check | its test without the check |", "| --- | --- | --- | --- |"]
    for result in results:
        check, attack = result.attack.check, result.attack
        where = f"`{check.module}` {check.function}: {check.statement if not check.instead else f'`{check.statement}`'}"
        rows.append(f"| {attack.line} | {attack.how} | {where} | `{attack.test}` {result.why} |")
    return "\n".join(rows)


def main() -> None:
    """Run all mutations and print the table."""
    results = run_all()
    print(table(results))
    killed = sum(result.killed for result in results)
    checks = len({result.attack.check for result in results})
    print(f"\n{len(results)} attacks against {checks} checks, {killed} tests fail without them")
    sys.exit(0 if killed == len(results) else 1)


if __name__ == "__main__":
    main()
