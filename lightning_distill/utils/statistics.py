"""The t-intervals of scores, tables and benchmarks, and the exact interval of a proportion."""

from __future__ import annotations

import math

from scipy import stats


def t_quantile(n: int, level: float = 0.95) -> float:
    """Return the factor of the standard error in a two-sided t-interval from n values.

    Args:
        n: Number of values, at least 2.
        level: Confidence level.
    """
    return float(stats.t.interval(level, n - 1)[1])


def t_half_width(std: float, n: int, level: float = 0.95) -> float:
    """Compute the half width of the t-interval of a mean; NaN for fewer than two values.

    Args:
        std: Sample standard deviation of the values.
        n: Number of values.
        level: Confidence level.
    """
    if n < 2 or math.isnan(std):
        return math.nan
    return t_quantile(n, level) * std / math.sqrt(n)


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
