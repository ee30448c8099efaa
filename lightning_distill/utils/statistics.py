"""Interval estimates shared by scores, tables and benchmarks."""

from __future__ import annotations

import math

from scipy import stats


def t_half_width(std: float, n: int, level: float = 0.95) -> float:
    """Half width of the t-interval of a mean; NaN for fewer than two values.

    Args:
        std: Sample standard deviation of the values.
        n: Number of values.
        level: Confidence level.
    """
    if n < 2 or math.isnan(std):
        return math.nan
    return float(stats.t.interval(level, n - 1)[1]) * std / math.sqrt(n)
