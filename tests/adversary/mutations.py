"""The mutation run: take each named check out of a copy of the code, and see its test fail by an assertion.

::

    python -m tests.adversary.mutations
"""

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import SimpleQueue
from typing import Any, TypeVar

from tests.adversary.attacks import ATTACKS, Attack
from tests.adversary.checks import ROOT
from tests.support.memory import place_in_memory

_HERE = "tests/adversary"
_COPIED = ("fl_app", "client", "strategies", "server", "tests", "pyproject.toml")
_R = TypeVar("_R")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.csv.gz", "test_mutations.py")


@dataclass(frozen=True)
class Result:
    """What the test of an attack did without the check; ``killed`` if it failed, and by assertions alone."""

    attack: Attack
    killed: bool
    why: str


class Copy:
    """A copy of the code in a directory of its own, and a process that runs tests on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, directory / name, ignore=_LEFT_OUT)
            else:
                shutil.copy(source, directory / name)
        # Compiled once for all attacks; by its hash, as a changed source may have the original's size and time.
        compileall.compile_dir(directory, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        command = [sys.executable, str(ROOT / _HERE / "mutant.py")]
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # copies side by side would wait for each other's threads
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

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
        """Run tests in the copy and return what `tests.adversary.mutant` says of them."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        print(json.dumps([str(self._directory), [f"{_HERE}/{t}" for t in tests]]), file=self._process.stdin, flush=True)
        outcome: dict[str, Any] = json.loads(self._process.stdout.readline())
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
    place = place_in_memory()
    with tempfile.TemporaryDirectory(prefix="mutations-", dir=place) as directory, ExitStack() as open_copies:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(jobs):
            copies.put(copy := Copy(Path(directory) / str(number)))
            open_copies.callback(copy.close)

        def free(work: Callable[[Copy], _R]) -> _R:
            copy = copies.get()
            try:
                return work(copy)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            tests = sorted({attack.test for attack in attacks})
            parts = [tests[number::jobs] for number in range(min(jobs, len(tests)))]
            for outcome in pool.map(lambda part: free(lambda copy: copy.run(*part)), parts):
                if outcome["asserted"] or outcome["errors"] or not outcome["passed"]:
                    raise RuntimeError(f"tests fail with every check in place: {outcome}")
            return list(pool.map(lambda attack: free(lambda copy: copy.try_out(attack)), attacks))


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
