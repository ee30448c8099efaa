"""The t-intervals of scores, tables and benchmarks, and the exact interval of a proportion."""

from __future__ import annotations

import math

from scipy import stats

#: Fewest values with an interval: that of two values has one degree of freedom and is 12.7 standard errors wide.
MIN_VALUES = 3


def t_quantile(n: int, level: float = 0.95) -> float:
    """Return the factor of the standard error in a two-sided t-interval from n values.

    Args:
        n: Number of values, at least 2.
        level: Confidence level.
    """
    return float(stats.t.interval(level, n - 1)[1])


def t_half_width(std: float, n: int, level: float = 0.95) -> float:
    """Compute the half width of the t-interval of a mean; NaN for fewer than `MIN_VALUES` values.

    Args:
        std: Sample standard deviation of the values.
        n: Number of values.
        level: Confidence level.
    """
    if n < MIN_VALUES or math.isnan(std):
        return math.nan
    return t_quantile(n, level) * std / math.sqrt(n)


def t_interval(
    mean: float,
    std: float,
    n: int,
    level: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    half: float = math.nan,
) -> tuple[float, float]:
    """Compute the t-interval of a mean, cut at the ends of its range; NaN for fewer than `MIN_VALUES` values.

    Args:
        mean: Mean of the values.
        std: Sample standard deviation of the values.
        n: Number of values; 0 if unknown.
        level: Confidence level.
        bounds: Smallest and largest possible value.
        half: Half width of the interval where it is known; NaN to compute it from ``std``.

    Example:
        >>> t_interval(0.98, 0.03, 5, bounds=(0, 1))[1]
        1
    """
    half = t_half_width(std, n, level) if math.isnan(half) or 0 < n < MIN_VALUES else half
    if math.isnan(half) or math.isnan(mean):
        return math.nan, math.nan
    return max(bounds[0], mean - half), min(bounds[1], mean + half)


def clopper_pearson(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a proportion; numbers need not be whole.

    Args:
        successes: Number of successes.
        trials: Number of trials.
        level: Confidence level.

    Reference:
        Clopper, Pearson: The Use of Confidence or Fiducial Limits, Biometrika 26, 1934.

    Example:
        >>> [round(bound, 3) for bound in clopper_pearson(0, 10)]
        [0.0, 0.308]
    """
    alpha, failures = 1 - level, trials - successes
    low = float(stats.beta.ppf(alpha / 2, successes, failures + 1)) if successes > 0 else 0.0
    high = float(stats.beta.ppf(1 - alpha / 2, successes + 1, failures)) if failures > 0 else 1.0
    return low, high
