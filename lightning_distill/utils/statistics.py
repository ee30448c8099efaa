"""The t-intervals of scores, tables and benchmarks."""

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
