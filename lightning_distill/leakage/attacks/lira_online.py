"""Online LiRA: the likelihood ratio of an image's confidence between sets made with it and without it."""

from __future__ import annotations

from lightning_distill.leakage.attacks.gaussian import Floats, gaussians, log_density
from lightning_distill.leakage.evidence import Evidence


def lira_online(evidence: Evidence) -> Floats:
    """Return the log-likelihood ratio of each candidate, ``(k,)``.

    Means are medians over references; see `gaussian.gaussians` for the variances.

    Args:
        evidence: Measurements of target and references.

    Reference:
        Carlini et al.: Membership Inference Attacks From First Principles, arXiv 2112.03570.
    """
    values, members = evidence.reference_confidence, evidence.reference_members
    inside, outside = gaussians(values, members), gaussians(values, ~members)
    return log_density(evidence.confidence, *inside) - log_density(evidence.confidence, *outside)
