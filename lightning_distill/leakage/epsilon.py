"""Lower bound on epsilon from correct guesses in one run, without any assumption on the method."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from lightning_distill.utils.arguments import check_number

#: Largest epsilon that is searched.
MAX_EPSILON = 50.0


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float = 0.0) -> float:
    r"""Return a bound on the probability of at least this many correct guesses under (epsilon, delta)-DP.

    Each canary is in the data with probability 1/2, independently. Under epsilon-DP the number of correct guesses is
    stochastically dominated by :math:`B \sim \mathrm{Binomial}(r, e^\epsilon / (1 + e^\epsilon))`. With delta:

    .. math:: P[W \ge v] \le P[B \ge v] + 2 m \delta \max_{1 \le i \le v} \frac{P[v - i \le B < v]}{i}

    Args:
        canaries: Number m of canaries.
        guesses: Number r of canaries that are guessed; the others are abstained from.
        correct: Number v of correct guesses.
        epsilon: Claimed epsilon.
        delta: Claimed delta.

    Raises:
        ValueError: ``delta`` is not from 0 to below 1.

    Reference:
        Steinke, Nasr, Jagielski: Privacy Auditing with One (1) Training Run, NeurIPS 2023, arXiv 2305.08846.

    Example:
        >>> p_value(canaries=10, guesses=10, correct=10, epsilon=0.0) == 0.5**10
        True
    """
    check_number("delta", delta, 0, 1)
    probability = 1 / (1 + math.exp(-epsilon))
    tail = float(stats.binom.sf(correct - 1, guesses, probability))
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    below = np.cumsum(
        stats.binom.pmf(np.arange(correct - 1, -1, -1), guesses, probability)
    )  # P[v - i <= B < v] for i = 1..v
    slope = float((below / np.arange(1, correct + 1)).max())
    return min(1.0, tail + 2 * canaries * delta * slope)


def epsilon_lower_bound(
    canaries: int, guesses: int, correct: int, delta: float = 0.0, confidence: float = 0.95
) -> float:
    """Return the largest epsilon that the guesses refute at a confidence level; 0 where they refute none.

    Args:
        canaries: Number of canaries, each in the data with probability 1/2.
        guesses: Number of canaries that are guessed.
        correct: Number of correct guesses.
        delta: Delta of the claim.
        confidence: Confidence level.

    Raises:
        ValueError: The numbers are not in order.

    Example:
        >>> round(epsilon_lower_bound(100, 100, 100), 2), epsilon_lower_bound(100, 100, 50)
        (3.49, 0.0)
    """
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(f"{correct} correct of {guesses} guesses of {canaries} canaries; they must not decrease")
    allowed = 1 - confidence
    if p_value(canaries, guesses, correct, 0.0, delta) >= allowed:
        return 0.0
    low, high = 0.0, MAX_EPSILON
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(canaries, guesses, correct, middle, delta) < allowed else (low, middle)
    return low
