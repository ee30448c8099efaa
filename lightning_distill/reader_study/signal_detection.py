"""Measures of signal detection, from counts of ratings: accuracy, d', criterion and area under the ROC curve.

The signal is "synthetic". A rating is the answer with its confidence, -5 (surely real) to 5 (surely synthetic) without
0. Every function takes counts with any leading axes, so that one call serves all readers of all bootstrap resamples.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]
#: Ratings in the order of the last axis of the counts.
RATINGS = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)


def rating_counts(ratings: Floats, weights: Floats) -> Floats:
    """Count ratings with weights.

    Args:
        ratings: Ratings ``(R, N)`` of R readers for N images, NaN for a missing answer.
        weights: Weights ``(B, N)`` of the images in B resamples.

    Returns:
        Counts ``(B, R, 10)`` of each of `RATINGS`.
    """
    given = (ratings[:, :, None] == np.asarray(RATINGS)).astype(np.float64)  # (R, N, 10)
    counts: Floats = np.einsum("bn,rnl->brl", weights, given, optimize=True)
    return counts


def sensitivity(synthetic: Floats, real: Floats) -> tuple[Floats, Floats]:
    """Compute d' and the criterion of yes/no answers, with the log-linear correction.

    ``d' = z(H) - z(F)`` and ``c = -(z(H) + z(F)) / 2`` with the rates ``(count + .5) / (n + 1)`` (Hautus 1995). A
    negative criterion means that the reader tends to answer "synthetic".

    Args:
        synthetic: Counts ``(..., 10)`` of the ratings of synthetic images.
        real: Counts ``(..., 10)`` of the ratings of real images.

    Returns:
        d' and the criterion, each ``(...)``.

    Example:
        >>> from lightning_distill.reader_study.signal_detection import RATINGS, sensitivity
        >>> hits = np.zeros(10); hits[RATINGS.index(1)], hits[RATINGS.index(-1)] = 40, 10
        >>> d, c = sensitivity(hits, hits[::-1])
        >>> round(float(d), 3), abs(round(float(c), 3))
        (1.642, 0.0)
    """
    hit, false_alarm = (_z(_called_synthetic(counts), counts.sum(-1)) for counts in (synthetic, real))
    return hit - false_alarm, -(hit + false_alarm) / 2


def auc(synthetic: Floats, real: Floats) -> Floats:
    """Compute the area under the ROC curve of the ratings: the share of pairs that they order rightly, ties half.

    Args:
        synthetic: Counts ``(..., 10)`` of the ratings of synthetic images.
        real: Counts ``(..., 10)`` of the ratings of real images.

    Returns:
        Areas ``(...)``, NaN where a reader rated images of one kind alone.
    """
    below = np.cumsum(real, -1) - real
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = (synthetic * (below + real / 2)).sum(-1) / (synthetic.sum(-1) * real.sum(-1))
    return area


def right_answers(synthetic: Floats, real: Floats) -> tuple[Floats, Floats]:
    """Count right answers and all answers, each ``(...)``.

    Args:
        synthetic: Counts ``(..., 10)`` of the ratings of synthetic images.
        real: Counts ``(..., 10)`` of the ratings of real images.
    """
    answers = synthetic.sum(-1) + real.sum(-1)
    return _called_synthetic(synthetic) + real.sum(-1) - _called_synthetic(real), answers


def pairs_d_prime(right: Floats, answers: Floats) -> Floats:
    """Compute d' of pairs, ``sqrt(2) z(p)`` with ``p = (right + .5) / (answers + 1)``. Pairs have no criterion.

    Args:
        right: Numbers of right answers ``(...)``.
        answers: Numbers of answers ``(...)``.
    """
    d: Floats = math.sqrt(2) * _z(np.asarray(right, np.float64), np.asarray(answers, np.float64))
    return d


def _called_synthetic(counts: Floats) -> Floats:
    called: Floats = counts[..., len(RATINGS) // 2 :].sum(-1)
    return called


def _z(count: Floats, total: Floats) -> Floats:
    quantile: Floats = np.where(total > 0, norm.ppf((count + 0.5) / (total + 1)), np.nan)
    return quantile
