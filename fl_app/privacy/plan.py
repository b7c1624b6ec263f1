"""How a run's privacy is spent: the share of each step, and the noise and the bounds that follow from it.

A training row is in the statistics and in every round of training, a held-out row in the final evaluation alone; so the
evaluation may cost as much as all else together. What is summed are integers, that a row's part has an exact bound and
the noise an exact distribution: a value is so many grains, of which 2^k make one.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from fl_app.privacy.cost import UNIT, Cost, budget, units
from fl_app.privacy.settings import Privacy

STATISTICS_SHARE = 0.1
"""Of the training rows' privacy; with half or twice of it the census comes out the same within its noise."""
SPARE_ROUNDS = 3
"""Rounds that may be lost and asked again, under other numbers, in what a run costs: a pod answers no more of them."""
EVALUATIONS = 2
"""How often a training may be evaluated, the second time where it was resumed in between."""
CLIP = 2.0
"""Largest norm of a row's gradient, in the coordinates in which it is clipped; see `fl_app.privacy.descent`."""
COUNT_GRAINS = 16
"""Grains of a row that is counted. Noise of a few rows is many grains then, as sums of shares of noise need it."""
LOSS_GRAINS = 1024
"""Grains of one nat of loss, and of one of the Brier score."""
MAX_PRIVATE_LOSS = 4.0
"""Nats at which a row's loss is capped: the more, the more noise its sum needs."""
MOST_FEATURES = 1 << 14
MOST_CLASSES = 1 << 10
_GRADIENT_BITS = 13
_LARGEST_VARIANCE = 1 << 44
_TAIL = 20
"""Deviations that no noise reaches: the probability is below 2^-288."""

LEAST_VARIANCE = 64
"""Of a pod's share of noise, in squared grains: what sums of such shares cost beyond one discrete Gaussian is below a
rho of 1e-260 for a billion elements (`fl_app.privacy.accounting.excess`), which the accounting leaves out."""


@dataclass(frozen=True)
class Noise:
    """What hides a row in a sum of integers.

    Attributes
    ----------
    grains : int
        Integers that make one of the value.
    variance : int
        Of the noise in the sum, in squared grains.
    """

    grains: int
    variance: int

    def share(self, honest: int) -> int:
        """Return the variance of a pod's share, so that those of ``honest`` pods add up to all of it."""
        return max(LEAST_VARIANCE, -(-self.variance // honest))

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise in the sum, in units of the value."""
        return math.sqrt(self.variance) / self.grains

    @property
    def tail(self) -> float:
        """What one pod's share never reaches, whatever pods it relies on, in units of the value: a power of two."""
        return 2.0 ** math.ceil(math.log2(_TAIL * math.sqrt(max(self.variance, LEAST_VARIANCE)) / self.grains))


def _noise(rho: float, grains: int, squares: float) -> Noise:
    """Return the noise with which a sum costs ``rho`` that a row moves by at most the root of ``squares``."""
    return Noise(grains, math.ceil(squares * grains * grains / (2 * rho)))


@dataclass(frozen=True)
class Plan:
    """The noise of each step of a private run.

    Attributes
    ----------
    privacy : Privacy
        What the run asks for.
    rounds : int
        Of training, a step each.
    """

    privacy: Privacy
    rounds: int

    @cached_property
    def rho(self) -> float:
        """What the run may cost a row. Rounded down, so that parties on unlike processors get the same.

        Each step's cost is rounded up. A unit is left for each, so that a run fits a budget of its own epsilon.
        """
        steps = 1 + self.rounds + SPARE_ROUNDS + EVALUATIONS
        return (budget(self.privacy.epsilon, self.privacy.delta) - steps) // 1000 / 1e9

    @property
    def cost(self) -> Cost:
        """What each step costs."""
        return Cost(
            statistics=units(self.rho * STATISTICS_SHARE),
            train=units(self._train),
            evaluate=units(self._evaluate),
            rounds=self.rounds + SPARE_ROUNDS,
        )

    @property
    def _train(self) -> float:
        return self.rho * (1 - STATISTICS_SHARE) / (self.rounds + SPARE_ROUNDS)

    @property
    def _evaluate(self) -> float:
        return (self.rho - 2 * EVALUATIONS / UNIT) / EVALUATIONS  # all of them, rounded up, are within the run's cost

    def statistics(self, features: int) -> Noise:
        """Return the noise in each count of rows by value, of so many features and the label: a row is in one of each.

        Raises
        ------
        ValueError
            For more than `MOST_FEATURES`.
        """
        if features > MOST_FEATURES:
            raise ValueError(f"a private run takes at most {MOST_FEATURES} features")
        return _noise(self.rho * STATISTICS_SHARE, COUNT_GRAINS, features + 1)

    @cached_property
    def gradient(self) -> Noise:
        """The noise in each element of a round's sum of gradients.

        Its grains are as fine as the sampler's largest variance allows.
        """
        candidates = (_noise(self._train, 1 << bits, CLIP**2) for bits in range(_GRADIENT_BITS, -1, -1))
        return next(noise for noise in candidates if noise.variance < _LARGEST_VARIANCE)

    # The final evaluation: a row's class and prediction, its scores, its loss and its Brier score.

    @property
    def confusion(self) -> Noise:
        """The noise in each count of rows by class and prediction."""
        return _noise(self._evaluate / 4, COUNT_GRAINS, 1)

    def histograms(self, scored: int) -> Noise:
        """Return the noise in each count of rows by score: a row is in one cell for each class that is scored."""
        return _noise(self._evaluate / 2, COUNT_GRAINS, scored)

    @property
    def loss(self) -> Noise:
        """The noise in the sum of losses."""
        return _noise(self._evaluate / 8, LOSS_GRAINS, MAX_PRIVATE_LOSS**2)

    def brier(self, most: float) -> Noise:
        """Return the noise in the sum of Brier scores, of which a row has at most ``most``."""
        return _noise(self._evaluate / 8, LOSS_GRAINS, most**2)


def rounds_for(epsilon: float) -> int:
    """Return how many rounds a run takes if nobody says: with more each is noisier, with fewer less is learnt."""
    return 120 if epsilon >= 2 else 80
