"""Precision, recall, density and coverage, by nearest neighbours in feature space."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.evaluation.fidelity.metric import Column, Comparison, Features, FidelityMetric, Sample, too_few

#: Number of neighbours that set the radius of an image.
NEIGHBOURS = 5
#: Largest number of distances that are held at once.
DISTANCES = 1 << 23


def neighbour_scores(real: Features, images: Features, k: int = NEIGHBOURS) -> dict[str, float]:
    """Return precision, recall, density and coverage.

    The ball of an image reaches to its k-th nearest neighbour among the images of its own kind. Precision: share of
    images in a ball of a real one. Recall: share of real images in a ball of an image. Density: mean number of balls of
    real images around an image, divided by k; may exceed 1. Coverage: share of real images with an image in their ball.

    Args:
        real: Features ``(m, F)`` of the reference, m above k.
        images: Features ``(n, F)`` of the images, n above k.
        k: Number of neighbours.

    Reference:
        Naeem et al.: Reliable Fidelity and Diversity Metrics for Generative Models, arXiv 2002.09797.

    Example:
        >>> import numpy as np
        >>> same = np.arange(20, dtype=np.float32)[:, None]
        >>> {name: round(value, 2) for name, value in neighbour_scores(same, same + 100).items()}
        {'precision': 0.0, 'recall': 0.0, 'density': 0.0, 'coverage': 0.0}
    """
    a, b = torch.from_numpy(real).double(), torch.from_numpy(images).double()
    radii_real, radii_images = _radii(a, k), _radii(b, k)
    in_real = torch.zeros(len(b), dtype=torch.int64)  # number of balls of real images around each image
    recalled, covered = [], []
    for start in range(0, len(a), step := max(1, DISTANCES // len(b))):
        distances = torch.cdist(a[start : start + step], b)
        within = distances < radii_real[start : start + step, None]
        in_real += within.sum(0)
        covered.append(within.any(1))
        recalled.append((distances < radii_images).any(1))
    return {
        "precision": float((in_real > 0).double().mean()),
        "recall": float(torch.cat(recalled).double().mean()),
        "density": float(in_real.double().mean() / k),
        "coverage": float(torch.cat(covered).double().mean()),
    }


def _radii(points: Tensor, k: int) -> Tensor:
    """Return the distance of each point to its k-th nearest other point, ``(N,)``."""
    step = max(1, DISTANCES // len(points))
    parts = [torch.cdist(part, points).kthvalue(k + 1, dim=1).values for part in points.split(step)]
    return torch.cat(parts)


def _compute(sample: Sample, comparison: Comparison) -> dict[str, float]:
    return neighbour_scores(comparison.reference.features, sample.features)


def _unresolvable(sample: Sample, comparison: Comparison) -> str:
    return too_few(sample, comparison, NEIGHBOURS + 1, f"{NEIGHBOURS} neighbours of each")


NEIGHBOUR_SCORES = FidelityMetric(
    "neighbours",
    tuple(Column(name, name, higher_is_better=True) for name in ("precision", "recall", "density", "coverage")),
    _compute,
    _unresolvable,
)
