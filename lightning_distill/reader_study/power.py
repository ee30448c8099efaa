"""Power of the exact binomial test against chance, 50 %."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom

#: Two-sided level of the test.
ALPHA = 0.05
#: Power that is asked for.
POWER = 0.8


def power(trials: int | NDArray[np.int64], accuracy: float) -> NDArray[np.float64]:
    """Return the probability that the two-sided exact test at 5 % tells a true accuracy from 50 %.

    Args:
        trials: Number of independent answers, or an array of them.
        accuracy: True share of right answers.

    Example:
        >>> round(float(power(100, 0.65)), 2)
        0.83
    """
    n = np.asarray(trials)
    low = binom.ppf(ALPHA / 2, n, 0.5)  # smallest k with P(X <= k) >= ALPHA / 2
    low = np.where(binom.cdf(low, n, 0.5) > ALPHA / 2, low - 1, low)  # largest k that the test rejects
    rejected: NDArray[np.float64] = binom.cdf(low, n, accuracy) + binom.sf(n - low - 1, n, accuracy)
    return rejected


def detectable_accuracy(trials: int) -> float:
    """Return the smallest accuracy above 50 % that is found with 80 % power; NaN for fewer than 6 answers.

    Args:
        trials: Number of independent answers.
    """
    if float(power(trials, 1.0)) < POWER:
        return math.nan
    return float(brentq(lambda p: float(power(trials, p)) - POWER, 0.5, 1.0))


def trials_needed(accuracy: float) -> int:
    """Return the number of independent answers from which on the power is at least 80 %.

    The power of an exact test rises in a sawtooth; the number returned is the one after its last fall below 80 %.

    Args:
        accuracy: True share of right answers, at least 0.51.

    Raises:
        ValueError: The accuracy is below 0.51.

    Example:
        >>> trials_needed(0.7)
        54
    """
    if not 0.51 <= accuracy <= 1:
        raise ValueError(f"accuracy={accuracy}; give 0.51 to 1")
    most = int(3 / (accuracy - 0.5) ** 2) + 20  # the normal approximation needs below 2 / (p - 0.5)^2
    numbers = np.arange(1, most + 1)
    return int(numbers[power(numbers, accuracy) < POWER].max(initial=0)) + 1
