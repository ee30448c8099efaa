"""Distance attack in pixels: no network and no references."""

from __future__ import annotations

from lightning_distill.leakage.attacks.gaussian import Floats
from lightning_distill.leakage.evidence import Evidence


def pixel_distance(evidence: Evidence) -> Floats:
    """Return the negative distance of each candidate to the nearest image of its class, in pixels, ``(k,)``.

    Args:
        evidence: Measurements of target and references.
    """
    return -evidence.distances["pixels"]
