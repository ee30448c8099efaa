"""Accounting of (epsilon, delta) by Opacus: what subsampled Gaussian mechanisms cost together, and the noise for it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal, NamedTuple

import numpy as np

#: Relative accuracy of a noise multiplier.
TOLERANCE = 1e-3
#: Largest noise multiplier that is tried.
MAX_SIGMA = 1e6
Accountant = Literal["prv", "rdp"]


class Mechanism(NamedTuple):
    """A Gaussian mechanism on a Poisson sample, repeated.

    Attributes:
        sigma: Standard deviation of the noise in units of the clip norm.
        rate: Probability with which every unit is in a sample, 0 to 1.
        repetitions: Number of samples.
    """

    sigma: float
    rate: float
    repetitions: int


def require_opacus() -> None:
    """Raise a ValueError where Opacus is not installed."""
    if find_spec("opacus") is None:
        raise ValueError("epsilon needs the accountants of Opacus: pip install 'lightning-distill[dp]'")


def epsilon_of(mechanisms: Sequence[Mechanism], delta: float, accountant: Accountant = "prv") -> float:
    """Return the epsilon of several mechanisms on the same data, for an adjacency of one added or removed unit.

    Args:
        mechanisms: Mechanisms that are released.
        delta: Delta of the guarantee.
        accountant: ``prv`` (numerical composition of privacy loss distributions), or ``rdp`` (moments; larger).

    Raises:
        ValueError: Opacus is not installed.

    Reference:
        Gopi, Lee, Wutschitz: Numerical Composition of Differential Privacy, NeurIPS 2021, arXiv 2106.02848.
        Mironov, Talwar, Zhang: Renyi Differential Privacy of the Sampled Gaussian Mechanism, arXiv 1908.10530.
    """
    require_opacus()
    from opacus.accountants import create_accountant

    of = create_accountant(accountant)
    of.history = [tuple(mechanism) for mechanism in mechanisms]
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # log(0) at a rate of 1, and the bounds of RDP's orders
        return float(of.get_epsilon(delta))


def noise_multiplier(
    epsilon: float, delta: float, rate: float, repetitions: int, others: Sequence[Mechanism] = ()
) -> float:
    """Return the least noise multiplier for an epsilon, by bisection with the PRV accountant, rounded up.

    Args:
        epsilon: Epsilon of all mechanisms together.
        delta: Delta of the guarantee.
        rate: Probability with which every unit is in a sample.
        repetitions: Number of samples.
        others: Mechanisms on the same data that are charged too.

    Raises:
        ValueError: The others alone cost more than epsilon, or no noise suffices.
    """
    if others and (spent := epsilon_of(others, delta)) >= epsilon:
        raise ValueError(f"earlier releases already cost epsilon {spent:.2f}; epsilon={epsilon:g} must be above that")

    def cost(sigma: float) -> float:
        return epsilon_of([*others, Mechanism(sigma, rate, repetitions)], delta)

    high = 1.0
    while cost(high) > epsilon:
        high *= 2
        if high > MAX_SIGMA:
            raise ValueError(f"no noise gives epsilon={epsilon:g} at delta={delta:g}; raise epsilon or delta")
    low = high / 2 if high > 1.0 else 0.3  # below 0.3 the accountants are of no use
    while high / low > 1 + TOLERANCE:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if cost(middle) > epsilon else (low, middle)
    return high
