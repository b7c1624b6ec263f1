"""Pods that die, are late or answer twice: the exact sum, a clean skip or a clean end, in every cell."""

from collections import Counter
from collections.abc import Mapping

import pytest

from tests.faults.forks import run_all
from tests.faults.matrix import (
    COHORTS,
    DEATHS,
    DELAYS,
    ENDED,
    MIXED,
    SKIPPED,
    Cell,
    Outcome,
    cells,
    expected,
    run,
)
from tests.support.pods_in_process import NAMES

pytestmark = pytest.mark.timeout(900)  # the first of them computes the whole matrix


@pytest.fixture(scope="module")
def matrix() -> Mapping[Cell, Outcome]:
    return dict(run_all(cells()))


@pytest.mark.parametrize("fault", ["killed", *DELAYS])
@pytest.mark.parametrize("pods", COHORTS)
def test_each_cell_gives_the_exact_sum_or_a_clean_skip_or_end(
    matrix: Mapping[Cell, Outcome], pods: int, fault: str
) -> None:
    chosen = {cell: outcome for cell, outcome in matrix.items() if (cell.pods, cell.fault) == (pods, fault)}
    assert chosen
    for cell, outcome in chosen.items():
        assert not outcome.wrong, (cell, outcome)
        assert outcome.rounds == expected(cell), cell


def test_every_pod_is_killed_at_every_moment(matrix: Mapping[Cell, Outcome]) -> None:
    killed = [cell for cell in matrix if cell.fault == "killed"]
    mixed = [cell for cell in killed if cell.when == MIXED]
    counts = Counter((cell.pods, len(cell.who)) for cell in killed if cell not in mixed)
    moments = len(DEATHS)
    assert counts == {
        (2, 1): 2 * (moments - 1),  # complete cohorts have no unmask
        (3, 1): 3 * (moments - 1),
        (4, 1): 4 * moments,
        (5, 1): 5 * moments,
        (5, 2): 10 * moments,
        (10, 1): 10 * moments,
        (10, 2): 45 * moments,
    }
    assert {cell.pods for cell in mixed} == {4, 5, 10}


# -- ten pods, of which seven suffice (t = 7) -------------------------------------------------------------------


def of_ten(when: str, *who: int) -> Outcome:
    return run(Cell(10, "killed", when, who))


def test_three_of_ten_killed_before_their_vectors_leave_the_exact_sum_of_seven() -> None:
    outcome = of_ten("while training", 1, 4, 8)
    others = tuple(NAMES[place] for place in (0, 2, 3, 5, 6, 7, 9))
    assert outcome.wrong == ()
    assert outcome.rounds == (others,)


def test_three_of_ten_killed_after_their_vectors_leave_the_exact_sum_of_ten() -> None:
    for when in ("after its vector", "at unmask"):
        outcome = of_ten(when, 0, 5, 9)
        assert outcome.wrong == ()
        assert outcome.rounds == (NAMES,)


def test_four_of_ten_killed_are_too_many() -> None:
    for when in ("while training", "after its vector"):
        outcome = of_ten(when, 0, 1, 5, 9)
        assert outcome.wrong == ()
        assert outcome.rounds[0] == SKIPPED
        assert ENDED not in outcome.rounds
        assert len(outcome.rounds[1]) == 6


def test_one_of_ten_killed_of_each_kind_is_a_clean_skip() -> None:
    """After a loss every survivor must open its pair seeds with the lost, so a second loss cannot be made up for."""
    outcome = of_ten(MIXED, 1, 8)
    assert outcome.wrong == ()
    others = tuple(name for place, name in enumerate(NAMES) if place not in (1, 8))
    assert outcome.rounds == (SKIPPED, others)


def test_a_sum_that_is_wrong_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from fl_app.secagg.masking import Sum

    add = Sum.add
    monkeypatch.setattr(Sum, "add", lambda self, vector: add(self, vector) or self._total.__setitem__(2, 0))
    outcome = run(Cell(2, "killed", "after its vector", (0,)))
    assert outcome.wrong or outcome.rounds[0] != NAMES[:2]
