"""Distance attack in the embedding of a contrastively trained network: no references."""

from __future__ import annotations

from lightning_distill.leakage.attacks.gaussian import Floats
from lightning_distill.leakage.evidence import Evidence


def embedding_distance(evidence: Evidence) -> Floats:
    """Return the negative distance of each candidate to the nearest image of its class, in the embedding, ``(k,)``.

    Args:
        evidence: Measurements of target and references.
    """
    return -evidence.distances["embedding"]
