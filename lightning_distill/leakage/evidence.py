"""Evidence of an attacker: a shipped set, measured on the candidates, and the same measurements of shadow sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Evidence:
    """Measurements of a target set and of R reference sets on k candidates, and on z images of the population.

    Confidences are log-odds of the true label, ``log p - log(1 - p)``, see `confidence.label_log_odds`.

    Args:
        confidence: Mean confidence over students and queries under the target, ``(k,)``.
        student: Confidence of one student without augmentation under the target, ``(k,)``.
        reference_confidence: Mean confidence under the references, ``(R, k)``.
        reference_members: Whether a reference was made from the candidate, ``(R, k)``.
        population: Mean confidence of images that neither target nor references were made from, ``(z,)``.
        reference_population: The same under the references, ``(R, z)``.
        distances: Distance of each candidate to the nearest image of the target of its class, ``(k,)``, by space.
        reference_distances: Distances to the references, ``(R, k)``, by space.
        statistics: Mean and mean square of each channel that the target ships, ``(s,)``.
        image_statistics: The same of each candidate, ``(k, s)``.
        reference_statistics: The same of the references, ``(R, s)``.
        in_references: Whether candidates are members of half of the references, as online attacks need.
    """

    confidence: Floats
    student: Floats
    reference_confidence: Floats
    reference_members: Flags
    population: Floats
    reference_population: Floats
    distances: dict[str, Floats]
    reference_distances: dict[str, Floats]
    statistics: Floats
    image_statistics: Floats
    reference_statistics: Floats
    in_references: bool = True
