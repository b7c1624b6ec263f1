"""Every security check is named in the table of attacks, and its test fails without it."""

import pytest

from tests.adversary.attacks import (
    ATTACKS,
    BUDGET,
    CALL,
    ENTRIES,
    FOLLOWER,
    IDENTITY,
    LEDGER,
    LINES,
    MASKED,
    NOT_SECURITY,
    PHASES,
    ROSTER,
    RULE,
    RULES,
    SESSION,
    UNMASKING,
)
from tests.adversary.checks import guards
from tests.adversary.mutations import run_all, table


def test_every_line_of_the_attack_list_is_attacked() -> None:
    assert set(LINES) <= {attack.line for attack in ATTACKS}
    assert len(LINES) == len(set(LINES)) == 26


@pytest.mark.parametrize(
    "module",
    [ROSTER, PHASES, SESSION, UNMASKING, IDENTITY, LEDGER, ENTRIES, MASKED, CALL, RULES, BUDGET, FOLLOWER, RULE],
)
def test_every_check_is_attacked(module: str) -> None:
    named = {(attack.check.function, attack.check.statement) for attack in ATTACKS if attack.check.module == module}
    missing = [
        (function, statement)
        for function, statement in guards(module)
        if (module, function, statement) not in NOT_SECURITY
        and not any(where == function and words in statement for where, words in named)
    ]
    assert missing == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.check.function}-{attack.how}")
def test_every_check_is_found_in_the_source(attack) -> None:  # type: ignore[no-untyped-def]
    assert attack.check.disabled()


@pytest.mark.mutations
@pytest.mark.timeout(900)
def test_each_test_fails_without_its_check() -> None:
    results = run_all()
    survivors = [result for result in results if not result.killed]
    assert not survivors, table(survivors)
