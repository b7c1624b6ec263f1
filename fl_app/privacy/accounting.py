"""Zero-concentrated differential privacy in numbers: what rho means as epsilon at a delta, and the other way round.

A step with noise of the discrete Gaussian, variance s^2, on a sum that one row moves by at most D (Euclidean norm),
is rho-zCDP with rho = D^2 / (2 s^2). The rho of several steps add up, whatever each of them chooses after the ones
before. Every result here is rounded to the side on which it promises less.

Sources: Bun and Steinke (2016), arXiv 1605.02065, for zCDP and its composition; Canonne, Kamath and Steinke (2020),
arXiv 2004.00010, for the discrete Gaussian and the conversion; Kairouz, Liu and Steinke (2021), arXiv 2102.06387, for
sums of discrete Gaussians.

>>> round(epsilon_of(0.0125, 1e-5), 4)
0.6157
>>> epsilon_of(rho_of(3.0, 1e-5), 1e-5) <= 3.0
True
"""

import math
from collections.abc import Callable
from functools import lru_cache

LEAST_SHARE_VARIANCE = 0.25
"""Of a share of noise: the bound on the sum of shares holds from there on."""
_ROUNDING = 1e-13
"""Relative to the largest term of a result: floating-point arithmetic errs by less."""
_HALVINGS = 200


def epsilon_of(rho: float, delta: float) -> float:
    """Return the least epsilon that is known of rho-zCDP: it implies (epsilon, delta)-differential privacy.

    It is the least, over all a > 1, of a rho + (ln(1/delta) - ln a)/(a - 1) + ln(1 - 1/a), and 0 if that is below: the
    conversion of Canonne, Kamath and Steinke, solved for epsilon. Each a gives a bound that holds, so that no
    inaccuracy of the search makes the result too small.

    Parameters
    ----------
    rho : float
        From 0 on; 0 gives 0.
    delta : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        For other numbers.
    """
    if not (0 <= rho < math.inf and 0 < delta < 1):
        raise ValueError("expected a finite rho from 0 on, and a delta between 0 and 1")
    if rho == 0:
        return 0.0
    log_delta = math.log(delta)
    # With t = a - 1 the derivative has the sign of rho t^2 + ln(delta) + ln(1 + t), which rises from below 0.
    _, high = _halved(0.0, math.sqrt(-log_delta / rho), lambda t: rho * t * t + log_delta + math.log1p(t) < 0)
    terms = (rho, high * rho, -log_delta / high, -math.log1p(high) / high, -math.log1p(1 / high))
    return max(0.0, sum(terms) + _ROUNDING * max(map(abs, terms)))


@lru_cache(maxsize=256)
def rho_of(epsilon: float, delta: float) -> float:
    """Return the largest rho, to some ten digits, of which `epsilon_of` says no more than ``epsilon``.

    Parameters
    ----------
    epsilon : float
        Above 0.
    delta : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        For other numbers.
    """
    if not (0 < epsilon < math.inf and 0 < delta < 1):
        raise ValueError("expected a finite epsilon above 0, and a delta between 0 and 1")
    low, high = 0.0, epsilon
    while epsilon_of(high, delta) <= epsilon:  # where delta is large
        low, high = high, 2 * high
    return _halved(low, high, lambda rho: epsilon_of(rho, delta) <= epsilon)[0]


def _halved(low: float, high: float, is_low: Callable[[float], bool]) -> tuple[float, float]:
    """Narrow an interval, at whose lower part something holds, to the last two numbers between which that ends."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if is_low(middle):
            low = middle
        else:
            high = middle
    return low, high


def excess(share_variance: float, shares: int, elements: int) -> float:
    """Return what noise in shares adds to a step's rho, over one discrete Gaussian of their variance together.

    A sum of discrete Gaussians is almost one. By proposition 14 of Kairouz, Liu and Steinke, with n shares of variance
    v each and d elements, the step is rho-zCDP with rho = D^2 / (2 n v) + t d, where t is
    10 (exp(-2 pi^2 v 1/2) + exp(-2 pi^2 v 2/3) + ... + exp(-2 pi^2 v (n-1)/n)). The result is t d: less than 1e-30 for
    a million elements and ten shares, once a share's variance is 10.

    Parameters
    ----------
    share_variance : float
        Variance of each share, `LEAST_SHARE_VARIANCE` or more.
    shares : int
        How many are relied on, 1 or more; further independent noise takes nothing away.
    elements : int
        Length of the vector, 0 or more.

    Raises
    ------
    ValueError
        For other numbers.
    """
    if not (LEAST_SHARE_VARIANCE <= share_variance < math.inf and shares >= 1 and elements >= 0):
        raise ValueError(
            f"expected a share's variance from {LEAST_SHARE_VARIANCE} on, at least one share and no fewer than 0 "
            "elements"
        )
    tau = 10 * math.fsum(math.exp(-2 * math.pi**2 * share_variance * k / (k + 1)) for k in range(1, shares))
    # exp magnifies the rounding of its argument, which beyond 745 gives 0 in any case.
    return tau * elements * (1 + 1e-9)
