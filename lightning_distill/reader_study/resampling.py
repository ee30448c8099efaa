"""Bootstrap over readers and images: intervals that hold for other readers and other images of the same kind."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from lightning_distill.reader_study.matrices import Matrices
from lightning_distill.reader_study.signal_detection import (
    auc,
    pairs_d_prime,
    rating_counts,
    right_answers,
    sensitivity,
)

Floats = NDArray[np.float64]
Intervals = dict[str, tuple[float, float]]


def measure(synthetic: Floats, real: Floats, weights: Floats, pairs: bool) -> dict[str, Floats]:
    """Compute the measures over all readers: pooled accuracy, and means over readers of d', criterion and AUC.

    Args:
        synthetic: Counts ``(B, R, 10)`` of the ratings of synthetic images.
        real: Counts ``(B, R, 10)`` of the ratings of real images.
        weights: Weights ``(B, R)`` of the readers.
        pairs: Whether the trials are pairs, which have neither criterion nor AUC.

    Returns:
        Values ``(B,)`` of each measure.
    """
    right, answers = right_answers(synthetic, real)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {"accuracy": (weights * right).sum(-1) / (weights * answers).sum(-1)}
    if pairs:
        return values | {"d_prime": _mean(pairs_d_prime(right, answers), weights)}
    d_prime, criterion = sensitivity(synthetic, real)
    means = {"d_prime": d_prime, "criterion": criterion, "auc": auc(synthetic, real)}
    return values | {name: _mean(value, weights) for name, value in means.items()}


def bootstrap_intervals(matrices: Matrices, pairs: bool, resamples: int = 2000, seed: int = 0) -> Intervals:
    """Compute 95 % percentile intervals by drawing readers and, in each kind, images with replacement.

    With one reader only images are drawn: the interval then says nothing of other readers.

    Args:
        matrices: Answers to the trials of one set.
        pairs: Whether the trials are pairs.
        resamples: Number of resamples.
        seed: Seed of the resampling.
    """
    random = np.random.default_rng([seed, 2])
    readers = len(matrices.first)

    def drawn(count: int) -> Floats:
        if not count:
            return np.zeros((resamples, 0))
        return random.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)

    counts = [rating_counts(ratings, drawn(ratings.shape[1])) for ratings in (matrices.synthetic, matrices.real)]
    values = measure(counts[0], counts[1], drawn(readers), pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all values are NaN
        limits = {name: np.nanpercentile(value, [2.5, 97.5]) for name, value in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}


def _mean(values: Floats, weights: Floats) -> Floats:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = (np.where(known, values, 0) * weights).sum(-1) / (known * weights).sum(-1)
    return mean
