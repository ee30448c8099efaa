"""Frechet distance (FD) of features at equal numbers of images."""

from __future__ import annotations

import numpy as np
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from lightning_distill.evaluation.fidelity.given_features import GivenFeatures
from lightning_distill.evaluation.fidelity.metric import Column, Comparison, Features, FidelityMetric, Sample, too_few
from lightning_distill.utils.rng import derive_seed

#: Least number of images for each feature: covariances of fewer have no full rank, or are mostly noise.
IMAGES_PER_FEATURE = 2


def frechet_distance(real: Features, images: Features) -> float:
    r"""Return the Frechet distance of two Gaussians with the means and covariances of the features.

    .. math:: |\mu_1 - \mu_2|^2 + \operatorname{tr}(S_1 + S_2 - 2 (S_1 S_2)^{1/2})

    Its value depends on the number of images: compare it at equal numbers only.

    Args:
        real: Features ``(m, F)`` of the reference.
        images: Features ``(n, F)`` of the images.

    Reference:
        Heusel et al.: GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500.
    """
    metric = FrechetInceptionDistance(GivenFeatures(real.shape[1]))
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(images).double(), real=False)
    return float(metric.compute())


def equal_number(sample: Sample, comparison: Comparison) -> int:
    """Return the number of images at which all sets of a table are compared: the smallest one that is resolvable.

    Args:
        sample: Any sample of the table.
        comparison: Reference of the table.
    """
    least = IMAGES_PER_FEATURE * sample.features.shape[1]
    return min((count for count in comparison.counts if count >= least), default=least)


def _compute(sample: Sample, comparison: Comparison) -> dict[str, float]:
    """Measure random subsets of the equal number of images, or the whole sample where it has this number."""
    number, real = equal_number(sample, comparison), comparison.reference.features
    random = np.random.default_rng(derive_seed("fd", comparison.seed))
    subsets = [random.choice(len(sample), number, replace=False) for _ in range(comparison.draws)]
    subsets = subsets if len(sample) > number else [np.arange(number)]
    value = float(np.mean([frechet_distance(real, sample.features[rows]) for rows in subsets]))
    return {"fd": value, "fd_images": number}


def _unresolvable(sample: Sample, comparison: Comparison) -> str:
    features = sample.features.shape[1]
    return too_few(sample, comparison, IMAGES_PER_FEATURE * features, f"twice the {features} features")


FD = FidelityMetric(
    "fd",
    (Column("fd", "FD", 3, higher_is_better=False), Column("fd_images", "", 0, beside_real=False)),
    _compute,
    _unresolvable,
)
