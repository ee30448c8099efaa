"""Distance attack by correlation of pixels, which brightness and contrast do not change: no network, no references."""

from __future__ import annotations

from lightning_distill.leakage.attacks.gaussian import Floats
from lightning_distill.leakage.evidence import Evidence


def correlation_distance(evidence: Evidence) -> Floats:
    """Return the largest correlation of each candidate with an image of its class, less one, ``(k,)``.

    Distillation raises the contrast of images: their starts are then far in pixels and still correlated.

    Args:
        evidence: Measurements of target and references.
    """
    return -evidence.distances["correlation"]
