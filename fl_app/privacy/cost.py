"""What a run costs an owner's budget, in whole numbers: sums of them are exact, whatever their order."""

import math
from dataclasses import dataclass
from fractions import Fraction

from fl_app.privacy.accounting import rho_of

UNIT = 10**12
"""Units of a cost in a rho of 1."""
MOST = 10**18
"""Units that any part of a cost has at most: a rho of a million, which promises nothing any more."""
MOST_ROUNDS = 10**6


@dataclass(frozen=True)
class Cost:
    """What a private run tells of a row, as the rho of zero-concentrated differential privacy, in units of 1e-12.

    A training row pays for statistics and training rounds, a row that is held out for the evaluation.

    Attributes
    ----------
    statistics, train, evaluate : int
        Of the statistics, of each training round and of the final evaluation; 0 to `MOST`.
    rounds : int
        Training rounds; 0 to `MOST_ROUNDS`.

    Raises
    ------
    ValueError
        If one of them is no such whole number.
    """

    statistics: int
    train: int
    evaluate: int
    rounds: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            most = MOST_ROUNDS if name == "rounds" else MOST
            if type(value) is not int or not 0 <= value <= most:
                raise ValueError(f"{name} of a cost is a whole number from 0 to {most}")

    @property
    def total(self) -> int:
        """What the run costs: the greater of its two paths."""
        return max(self.statistics + self.rounds * self.train, self.evaluate)


def units(rho: float) -> int:
    """Return what a step of ``rho`` costs, rounded up; raises `ValueError` if that is negative or beyond `MOST`."""
    if not 0 <= rho <= MOST // UNIT:
        raise ValueError(f"expected a rho from 0 to {MOST // UNIT}")
    return math.ceil(Fraction(rho) * UNIT)


def budget(epsilon: float, delta: float) -> int:
    """Return what may be spent in all under (epsilon, delta), rounded down; raises `ValueError` as `rho_of` does.

    A run whose total is no more than this fits an owner's budget of the same epsilon and delta, to the unit.
    """
    return math.floor(Fraction(rho_of(epsilon, delta)) * UNIT)
