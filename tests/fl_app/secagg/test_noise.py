"""The sampler against the exact distribution, and against the paper's algorithms written out one draw at a time."""

from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.testing import assert_array_equal
from scipy import stats

from fl_app.secagg import noise
from fl_app.secagg.noise import RandomBytes, discrete_gaussian

from .randomness import P_VALUE

variances = pytest.mark.parametrize("variance", [1, Fraction(25, 2), 75, Fraction(1000, 7), 10**6, noise.LARGEST - 1])
SIZE = 400_000


def stream(number: int) -> RandomBytes:
    """A keystream that is the same in every run of the tests."""
    cipher = Cipher(AES256(number.to_bytes(32, "big")), CTR(bytes(16))).encryptor()
    return lambda size: cipher.update(bytes(size))


def expected(variance: float, edges: np.ndarray) -> np.ndarray:
    """Probability of each cell between half-integer edges, the outermost of which reach to infinity."""
    if variance > 10_000:  # the continuous distribution differs by less than exp(-2 pi^2 variance)
        return np.diff([0.0, *stats.norm.cdf(edges[1:-1], scale=variance**0.5), 1.0])
    whole = np.arange(-int(15 * variance**0.5) - 20, int(15 * variance**0.5) + 21)
    mass = np.exp(-(whole.astype(float) ** 2) / (2 * variance))
    return np.histogram(whole, np.r_[-np.inf, edges[1:-1], np.inf], weights=mass / mass.sum())[0]


def misfit(draws: np.ndarray, variance: float) -> float:
    """p-value of the chi-square test of draws against the discrete Gaussian, in cells of a hundred draws and more."""
    reach = np.floor(3.3 * variance**0.5)
    edges = np.unique(np.round(np.linspace(-reach, reach, 61))) - 0.5
    edges = np.r_[-np.inf, edges, -edges[0], np.inf]
    counts = np.histogram(draws, edges)[0]
    return float(stats.chisquare(counts, expected(variance, edges) * len(draws)).pvalue)


@variances
def test_the_noise_has_the_distribution_it_says(variance: Fraction | int) -> None:
    draws = discrete_gaussian(variance, SIZE, stream(1))
    assert draws.shape == (SIZE,)
    assert draws.dtype == np.int64
    assert misfit(draws, float(variance)) > P_VALUE


@variances
def test_half_the_variance_or_a_hundredth_more_does_not_pass_for_it(variance: Fraction | int) -> None:
    if variance >= 2:
        assert misfit(discrete_gaussian(Fraction(variance) / 2, SIZE, stream(2)), float(variance)) < P_VALUE
    assert misfit(discrete_gaussian(Fraction(variance), SIZE, stream(2)), 1.03 * float(variance)) < P_VALUE


@variances
def test_mean_and_variance_are_those_promised(variance: Fraction | int) -> None:
    draws = discrete_gaussian(variance, SIZE, stream(3)) / float(variance) ** 0.5
    # 4.9 deviations: one in a million
    assert abs(draws.mean()) < 4.9 / SIZE**0.5
    assert abs((draws**2).mean() - 1) < 4.9 * (2 / SIZE) ** 0.5


@pytest.mark.parametrize("pods", [1, 2, 9])
def test_shares_add_up_to_the_variance_that_was_divided(pods: int) -> None:
    shares = [discrete_gaussian(Fraction(25, pods), SIZE, stream(10 + place)) for place in range(pods)]
    assert misfit(np.sum(shares, axis=0), 25.0) > P_VALUE


def test_draws_have_nothing_to_do_with_each_other() -> None:
    draws = discrete_gaussian(25, SIZE, stream(4)).astype(float)
    for apart in (1, 2, 7, SIZE // 2):
        assert stats.pearsonr(draws[apart:], draws[:-apart]).pvalue > P_VALUE
    # The places of batches are not to be seen: the first draws are as the last ones.
    assert stats.ks_2samp(draws[: SIZE // 8], draws[-SIZE // 8 :]).pvalue > P_VALUE


def test_each_call_draws_from_a_new_key() -> None:
    one, other = discrete_gaussian(25, 10_000), discrete_gaussian(25, 10_000)
    assert stats.pearsonr(one, other).pvalue > P_VALUE
    assert misfit(one, 25.0) > P_VALUE


class Plain:
    """Algorithms 1 to 3 of Canonne, Kamath and Steinke, one draw at a time, in fractions."""

    def __init__(self, randomness: RandomBytes) -> None:
        self.randomness = randomness

    def below(self, bound: int) -> int:
        while True:
            drawn = int.from_bytes(self.randomness(16), "big")
            if drawn < (1 << 128) // bound * bound:
                return drawn % bound

    def coin(self, probability: Fraction) -> bool:
        return self.below(probability.denominator) < probability.numerator

    def exp(self, x: Fraction) -> bool:
        if x > 1:
            return all(self.exp(Fraction(1)) for _ in range(int(x))) and self.exp(x - int(x))
        place = 1
        while self.coin(x / place):
            place += 1
        return place % 2 == 1

    def laplace(self, scale: int) -> int:
        while True:
            rest = self.below(scale)
            if not self.exp(Fraction(rest, scale)):
                continue
            whole = 0
            while self.exp(Fraction(1)):
                whole += 1
            size, negative = rest + scale * whole, self.coin(Fraction(1, 2))
            if size or not negative:
                return -size if negative else size

    def gaussian(self, variance: Fraction) -> int:
        scale = int(float(variance) ** 0.5) + 1
        while True:
            drawn = self.laplace(scale)
            if self.exp((abs(drawn) - variance / scale) ** 2 / (2 * variance)):
                return drawn


@pytest.mark.parametrize("variance", [Fraction(1), Fraction(25, 3), Fraction(75)])
def test_the_papers_algorithms_one_draw_at_a_time_give_the_same(variance: Fraction) -> None:
    plain = Plain(stream(5))
    drawn = np.array([plain.gaussian(variance) for _ in range(10_000)])
    ours = discrete_gaussian(variance, 100_000, stream(6))
    edges = np.unique(np.quantile(ours, np.linspace(0, 1, 20))) - 0.5
    table = [np.histogram(part, np.r_[-np.inf, edges[1:], np.inf])[0] for part in (drawn, ours)]
    assert stats.chi2_contingency(table).pvalue > P_VALUE


@pytest.mark.parametrize(("above", "below"), [(0, 7), (1, 7), (3, 4), (7, 7), (12, 7), (40, 9), (2**45, 2**46)])
def test_coins_show_heads_as_often_as_the_exponential_says(above: int, below: int) -> None:
    sampler = noise.Sampler(stream(7))
    heads = int(sampler._exp_of_any(np.full(SIZE, above), below).sum())
    assert stats.binomtest(heads, SIZE, np.exp(-above / below)).pvalue > P_VALUE


@pytest.mark.parametrize("first_words", [[0] * 5, [0x5555] * 4 + [0x5554], [0x5555] * 4 + [0x5556]])
def test_a_coin_is_tossed_to_the_digit_that_decides(first_words: list[int]) -> None:
    """1/3 is 0x5555... in binary: a number that begins as it does is not decided by its first digits."""
    data = b"".join(word.to_bytes(2, "little") for word in first_words)
    at = 0

    def scripted(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    sampler = noise.Sampler(scripted)
    number = int.from_bytes(b"".join(word.to_bytes(2, "big") for word in first_words), "big")
    wanted = Fraction(number, 1 << (16 * len(first_words))) < Fraction(1, 3)
    assert sampler._coins(np.array([1]), 3).tolist() == [wanted]
    assert at == (2 if first_words[0] == 0 else len(data))


def test_a_draw_can_be_repeated_from_the_same_bytes() -> None:
    assert_array_equal(discrete_gaussian(9, 1000, stream(8)), discrete_gaussian(9, 1000, stream(8)))
    assert len(discrete_gaussian(9, 0)) == 0


@pytest.mark.parametrize("variance", [0, -1, Fraction(1, 2), noise.LARGEST, Fraction(noise.LARGEST + 1, noise.LARGEST)])
def test_a_variance_that_would_not_fit_is_refused(variance: Fraction | int) -> None:
    with pytest.raises(ValueError, match="from 1 on"):
        discrete_gaussian(variance, 1)
