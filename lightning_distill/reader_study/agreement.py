"""Agreement of readers with themselves and with each other, corrected for chance."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float:
    """Return Cohen's kappa of two raters; NaN without items, or where both gave one and the same answer throughout.

    Args:
        first: Answers of the first rater.
        second: Answers of the second rater to the same items.
    """
    if not len(first) or len({*first, *second}) < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score(list(map(str, first)), list(map(str, second))))


def mean_cohen_kappa(answers: NDArray[np.float64]) -> float:
    """Return the mean of Cohen's kappa over all pairs of readers, on the items that both answered.

    Args:
        answers: Codes of the answers ``(R, N)``, NaN for a missing one.
    """
    kappas = []
    for one, other in itertools.combinations(answers, 2):
        both = ~np.isnan(one) & ~np.isnan(other)
        kappas.append(cohen_kappa(one[both].tolist(), other[both].tolist()))
    known = [kappa for kappa in kappas if not math.isnan(kappa)]
    return float(np.mean(known)) if known else math.nan


def fleiss_kappa(counts: NDArray[np.float64]) -> float:
    """Return Fleiss' kappa (Psychological Bulletin 76, 1971).

    Args:
        counts: Number of raters ``(N, K)`` that chose each of K answers for N items; every item has the same number of
            raters, at least 2.

    Returns:
        Kappa: 1 for full agreement, 0 for that of chance; NaN where all answers are equal or there are no items.

    Raises:
        ValueError: Items have different numbers of raters, or fewer than 2.
    """
    counts = np.asarray(counts, np.float64)
    if not len(counts):
        return math.nan
    raters = counts.sum(1)
    if raters.min() != raters.max() or raters[0] < 2:
        raise ValueError(
            f"items have {raters.min():g} to {raters.max():g} raters; Fleiss' kappa needs 2 or more, equal"
        )
    n = raters[0]
    observed = float(((counts * (counts - 1)).sum(1) / (n * (n - 1))).mean())
    expected = float(np.square(counts.sum(0) / counts.sum()).sum())
    return math.nan if expected == 1 else (observed - expected) / (1 - expected)
