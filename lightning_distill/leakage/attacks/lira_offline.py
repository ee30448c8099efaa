"""Offline LiRA: the confidence of an image, measured in standard deviations above sets made without it."""

from __future__ import annotations

from lightning_distill.leakage.attacks.gaussian import Floats, gaussians
from lightning_distill.leakage.evidence import Evidence


def lira_offline(evidence: Evidence) -> Floats:
    """Return the one-sided z-score of each candidate, ``(k,)``.

    Args:
        evidence: Measurements of target and references.

    Reference:
        Carlini et al.: Membership Inference Attacks From First Principles, arXiv 2112.03570, section VI.
    """
    centre, std = gaussians(evidence.reference_confidence, ~evidence.reference_members)
    return (evidence.confidence - centre) / std
