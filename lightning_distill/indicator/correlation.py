"""How two accuracies go together when points come in data sets: correlations, and intervals that resample data sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

#: Fewer than these data sets make no interval: three have ten distinct resamples, four 35, five 126.
LEAST_CLUSTERS = 5


@dataclass(frozen=True)
class Interval:
    """Percentiles of resamples.

    Args:
        low: lower end; NaN where there is no interval.
        high: upper end.
        defined: share of resamples in which the statistic was a number.
    """

    low: float
    high: float
    defined: float


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's r: how well a line fits; NaN for fewer than three points or where x ``(n,)`` or y is constant."""
    return _correlate(stats.pearsonr, x, y)


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rho: Pearson's r of the ranks; NaN as in `pearson`."""
    return _correlate(stats.spearmanr, x, y)


def kendall(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's tau-b: pairs in the same order less pairs in the other, corrected for ties; NaN as in `pearson`."""
    return _correlate(stats.kendalltau, x, y)


CORRELATIONS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
}


def partial_correlation(x: ArrayLike, y: ArrayLike, given: ArrayLike) -> float:
    """What x says of y beyond what a third variable z says of both.

    ``r_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2))``: Pearson's r of the residuals of x and y after a
    line in z. NaN for fewer than four points, where one of the three is constant, or where z determines x or y.

    Args:
        x: ``(n,)``.
        y: ``(n,)``.
        given: z, ``(n,)``.
    """
    if len(np.asarray(x)) < 4:
        return math.nan
    xy, xz, yz = pearson(x, y), pearson(x, given), pearson(y, given)
    left = (1 - xz**2) * (1 - yz**2)
    if not left > 1e-12:  # NaN too
        return math.nan
    return float(np.clip((xy - xz * yz) / math.sqrt(left), -1.0, 1.0))


def within(values: ArrayLike, clusters: Sequence[str]) -> NDArray[np.float64]:
    """Values ``(n,)`` less the mean of their cluster: what is left when every data set's difficulty is taken out."""
    left, names = np.array(values, np.float64), np.asarray(clusters)
    for name in dict.fromkeys(clusters):
        left[names == name] -= left[names == name].mean()
    return left


def clustered_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clusters: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic when whole data sets are drawn again, with all their points.

    Points of one data set share its difficulty; resampling single points would take them for independent and make the
    interval too narrow. With a handful of data sets it is still too narrow, as any bootstrap is. Resamples without a
    number (all of one data set, say) are left out and their share is told.

    Args:
        statistic: of row numbers ``(m,)``, in which a row may come several times.
        clusters: the data set of each row, ``(n,)``.
        draws: resamples.
        seed: of them.
        level: of the interval.

    Returns:
        NaN ends for fewer than `LEAST_CLUSTERS` data sets, or where fewer than half of the resamples have a number.

    Raises:
        ValueError: fewer than one resample.

    Reference:
        Field, Welsh: Bootstrapping Clustered Data, Journal of the Royal Statistical Society B 69, 2007.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}; an interval needs at least 1, and better 1000")
    names = np.asarray(clusters)
    groups = [np.flatnonzero(names == name) for name in dict.fromkeys(clusters)]
    if len(groups) < LEAST_CLUSTERS:
        return Interval(math.nan, math.nan, math.nan)
    # not scipy.stats.bootstrap: it resamples rows, and one NaN makes its interval NaN
    picks = np.random.default_rng(seed).integers(len(groups), size=(draws, len(groups)))
    values = np.array([statistic(np.concatenate([groups[g] for g in pick])) for pick in picks])
    finite = values[np.isfinite(values)]
    if 2 * len(finite) < draws:
        return Interval(math.nan, math.nan, len(finite) / draws)
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(finite) / draws)


def _correlate(function: Callable[..., Sequence[float]], x: ArrayLike, y: ArrayLike) -> float:
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return math.nan if len(a) < 3 or _constant(a) or _constant(b) else float(function(a, b)[0])


def _constant(values: NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) <= 1e-12)
