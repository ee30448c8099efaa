"""Calibrated distance attack: the distance of an image, relative to its distances from sets made without it."""

from __future__ import annotations

from lightning_distill.leakage.attacks.gaussian import Floats, gaussians
from lightning_distill.leakage.evidence import Evidence


def calibrated_distance(evidence: Evidence) -> Floats:
    """Return by how many standard deviations each candidate is nearer in pixels than without it, ``(k,)``.

    An image that is near to every set, such as a typical one, does not count as a member for that.

    Args:
        evidence: Measurements of target and references.
    """
    centre, std = gaussians(evidence.reference_distances["pixels"], ~evidence.reference_members)
    return (centre - evidence.distances["pixels"]) / std
