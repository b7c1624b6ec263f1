"""The mutation run: take each named check out of the running code, and see its test fail by an assertion.

::

    python -m tests.adversary.mutations
"""

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tests.adversary.attacks import ATTACKS, Attack
from tests.adversary.mutant import Outcome, Try, outcomes
from tests.support.memory import place_in_memory


@dataclass(frozen=True)
class Result:
    """What the test of an attack did without the check; ``killed`` if it failed, and by assertions alone."""

    attack: Attack
    killed: bool
    why: str


def run_all(attacks: Sequence[Attack] = ATTACKS, jobs: int = 2) -> list[Result]:
    """Try every attack out; raises `RuntimeError` if a test fails with all checks in place."""
    tests = sorted({attack.test for attack in attacks})
    checks = tuple({attack.check for attack in attacks})
    parts = [Try(tuple(tests[number::jobs]), anew=checks) for number in range(min(jobs, len(tests)))]
    tries = [Try((attack.test,), without=attack.check) for attack in attacks]
    with (
        tempfile.TemporaryDirectory(prefix="mutations-", dir=place_in_memory()) as directory,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        found = pool.submit(outcomes, [*parts, *tries], Path(directory), jobs).result()
    for outcome in found[: len(parts)]:
        if outcome.asserted or outcome.errors or not outcome.passed:
            raise RuntimeError(f"tests fail with every check in place: {outcome}")
    return [_result(attack, outcome) for attack, outcome in zip(attacks, found[len(parts) :], strict=True)]


def _result(attack: Attack, outcome: Outcome) -> Result:
    if outcome.errors:
        return Result(attack, False, "fails, but not by an assertion: " + outcome.errors[0])
    if not outcome.asserted:
        return Result(attack, False, "passes all the same" if outcome.passed else "is not found")
    return Result(attack, True, "fails")


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
