"""Correlations of two accuracies, and bootstrap intervals that resample whole data sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

#: Minimum number of data sets for an interval: three have ten distinct resamples, four 35, five 126.
LEAST_CLUSTERS = 5


@dataclass(frozen=True)
class Interval:
    """Percentile interval of resamples.

    Args:
        low: Lower end; NaN if there is no interval.
        high: Upper end; NaN if there is no interval.
        defined: Fraction of resamples in which the statistic was a number.
    """

    low: float
    high: float
    defined: float


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Compute Pearson's r of x ``(n,)`` and y ``(n,)``; NaN for fewer than three points or if one is constant."""
    return _correlate(stats.pearsonr, x, y)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Compute Spearman's rho, Pearson's r of the ranks; NaN as in `pearson`."""
    return _correlate(stats.spearmanr, x, y)


def kendall(x: ArrayLike, y: ArrayLike) -> float:
    """Compute Kendall's tau-b, concordant minus discordant pairs corrected for ties; NaN as in `pearson`."""
    return _correlate(stats.kendalltau, x, y)


CORRELATIONS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
}


def partial_correlation(x: ArrayLike, y: ArrayLike, control: ArrayLike) -> float:
    """Compute the correlation of x and y after removing the linear effect of a third variable z.

    ``r_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2))``: Pearson's r of the residuals of x and y after a
    linear fit to z.

    Args:
        x: First variable, ``(n,)``.
        y: Second variable, ``(n,)``.
        control: Third variable z, ``(n,)``.

    Returns:
        The correlation; NaN for fewer than four points, if one variable is constant, or if z determines x or y.
    """
    if len(np.asarray(x)) < 4:
        return math.nan
    xy, xz, yz = pearson(x, y), pearson(x, control), pearson(y, control)
    left = (1 - xz**2) * (1 - yz**2)
    if not left > 1e-12:  # NaN too
        return math.nan
    return float(np.clip((xy - xz * yz) / math.sqrt(left), -1.0, 1.0))


def within(values: ArrayLike, clusters: Sequence[str]) -> NDArray[np.float64]:
    """Subtract the mean of its cluster from each value ``(n,)``, such as the mean accuracy of its data set."""
    left, names = np.array(values, np.float64), np.asarray(clusters)
    for name in dict.fromkeys(clusters):
        left[names == name] -= left[names == name].mean()
    return left


def clustered_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Compute a percentile interval of a statistic by resampling whole data sets with all their points.

    Points of one data set share its difficulty. Resampling single points would treat them as independent and make the
    interval too narrow. With few data sets this interval is still too narrow, as any bootstrap interval is. Resamples
    in which the statistic is NaN, such as those of a single data set, are left out; `Interval.defined` is the fraction
    of the others.

    Args:
        statistic: Function of row indices ``(m,)``, which may repeat.
        clusters: Data set of each row, length n.
        resamples: Number of resamples.
        seed: Seed for the resamples.
        level: Coverage of the interval.

    Returns:
        The interval. Its ends are NaN for fewer than `LEAST_CLUSTERS` data sets, or if fewer than half of the
        resamples have a number.

    Raises:
        ValueError: If ``resamples`` is below one.

    Reference:
        Field, Welsh: Bootstrapping Clustered Data, Journal of the Royal Statistical Society B 69, 2007.
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples}; an interval needs at least 1, and 1000 or more are recommended")
    names = np.asarray(clusters)
    groups = [np.flatnonzero(names == name) for name in dict.fromkeys(clusters)]
    if len(groups) < LEAST_CLUSTERS:
        return Interval(math.nan, math.nan, math.nan)
    # not scipy.stats.bootstrap: it resamples rows, and one NaN makes its interval NaN
    picks = np.random.default_rng(seed).integers(len(groups), size=(resamples, len(groups)))
    values = np.array([statistic(np.concatenate([groups[g] for g in pick])) for pick in picks])
    finite = values[np.isfinite(values)]
    if 2 * len(finite) < resamples:
        return Interval(math.nan, math.nan, len(finite) / resamples)
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(finite) / resamples)


def _correlate(function: Callable[..., Sequence[float]], x: ArrayLike, y: ArrayLike) -> float:
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return math.nan if len(a) < 3 or _constant(a) or _constant(b) else float(function(a, b)[0])


def _constant(values: NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) <= 1e-12)
