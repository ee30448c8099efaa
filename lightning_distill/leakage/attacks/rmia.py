"""RMIA: the share of population images that the target favours less than the candidate, relative to references."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from lightning_distill.leakage.attacks.gaussian import Flags, Floats
from lightning_distill.leakage.evidence import Evidence

#: Slope a of the line that gives the mean probability over all models from that over models without the image:
#: ``((1 + a) p_out + 1 - a) / 2``. A member's probability is then assumed to be ``1 - a + a p_out``.
OFFLINE_A = 0.3


def rmia(evidence: Evidence, a: float = OFFLINE_A) -> Floats:
    r"""Return the share of population images z that each candidate x dominates, ``(k,)``.

    .. math:: s(x) = \Pr_z\left[\frac{p_t(x)}{\bar p(x)} > \frac{p_t(z)}{\bar p(z)}\right], \quad
        \bar p = \tfrac12 \left((1 + a)\, \overline{p_{out}} + 1 - a\right)

    with the probability p of the true label under the target t, and its mean over references made without the image.
    Ties count half. The share is refined by the ratio itself within its steps, so that all candidates have an order.

    Args:
        evidence: Measurements of target and references.
        a: Slope of the offline approximation, in [0, 1].

    Reference:
        Zarifzadeh, Liu, Shokri: Low-Cost High-Power Membership Inference Attacks, ICML 2024, arXiv 2312.03262.
    """
    outside = ~evidence.reference_members
    ratio = _ratio(evidence.confidence, evidence.reference_confidence, outside, a)
    others = evidence.reference_population
    population = np.sort(_ratio(evidence.population, others, np.ones_like(others, bool), a))
    below, above = (np.searchsorted(population, ratio, side) for side in ("left", "right"))
    shares = (below + above) / (2 * len(population))
    return np.asarray(shares + 1e-6 * ratio / (1 + ratio), np.float64)


def _ratio(target: Floats, references: Floats, outside: Flags, a: float) -> Floats:
    """Return the probability under the target, divided by its mean over models."""
    mean_out = (expit(references) * outside).sum(0) / outside.sum(0)
    return np.asarray(expit(target) / (((1 + a) * mean_out + 1 - a) / 2), np.float64)
