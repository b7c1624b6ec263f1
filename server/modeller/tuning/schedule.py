"""Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): who is tried for how many rounds.

All trials are tried for few rounds. The best one in ``eta`` is tried for ``eta`` times as many, and so on, until one is
left. What that one is trained for is the last rung, the final run.
"""

from typing import NamedTuple

from fl_app.errors import UsageError


class Rung(NamedTuple):
    """One step of the ladder: so many trials, each in a run of so many rounds."""

    trials: int
    rounds: int

    @property
    def cost(self) -> int:
        """Rounds of all its runs."""
        return self.trials * self.rounds


def schedule(trials: int, rounds: int, eta: int) -> tuple[Rung, ...]:
    """Return the rungs, from all trials for ``rounds`` rounds to one: 9, 3 and 1 trials for 9 trials and an eta of 3.

    Raises
    ------
    UsageError
        If there are fewer than two trials, or a number is too small.
    """
    if trials < 2 or rounds < 1 or eta < 2:
        raise UsageError(
            f"a tuning has 2 trials or more, of 1 round or more, and keeps one in 2 or more; not {trials} trials of "
            f"{rounds} rounds and one in {eta}"
        )
    rungs = [Rung(trials, rounds)]
    while rungs[-1].trials > 1:
        rungs.append(Rung(max(1, rungs[-1].trials // eta), rungs[-1].rounds * eta))
    return tuple(rungs)


def cost(rungs: tuple[Rung, ...], *, final: bool) -> int:
    """Return the rounds of all runs, with those of the last rung or without."""
    return sum(rung.cost for rung in (rungs if final else rungs[:-1]))


def within(budget: int, trials: int, rounds: int, eta: int, *, final: bool) -> tuple[Rung, ...]:
    """Return the rungs of as many trials as fit into ``budget`` rounds, at most ``trials``.

    Raises
    ------
    UsageError
        If not even two do, with what they would take.
    """
    for count in range(trials, 1, -1):
        rungs = schedule(count, rounds, eta)
        if cost(rungs, final=final) <= budget:
            return rungs
    least = cost(schedule(2, rounds, eta), final=final)
    raise UsageError(
        f"two trials take {least} rounds, the final run {'included' if final else 'left out'}, and the budget is "
        f"{budget}: allow more, or fewer rounds for the first runs"
    )
