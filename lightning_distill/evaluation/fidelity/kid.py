"""Kernel distance (KID): unbiased squared maximum mean discrepancy of features, at any number of images."""

from __future__ import annotations

import warnings

import torch
from torchmetrics.image.kid import KernelInceptionDistance

from lightning_distill.evaluation.fidelity.given_features import GivenFeatures
from lightning_distill.evaluation.fidelity.metric import Column, Comparison, Features, FidelityMetric, Sample, too_few
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Number of random subsets, and largest number of images of a subset.
SUBSETS, SUBSET_SIZE = 100, 1000


def kernel_distance(real: Features, images: Features, seed: int = 0) -> float:
    r"""Return the mean over random subsets of the unbiased estimate of the squared MMD with a cubic kernel.

    .. math:: k(a, b) = (a \cdot b / F + 1)^3

    Subsets hold as many images of each kind as the smaller of both has, at most 1,000. The expected value does not
    depend on the number of images; it may be below zero.

    Args:
        real: Features ``(m, F)`` of the reference.
        images: Features ``(n, F)`` of the images.
        seed: Seed of the subsets.

    Reference:
        Binkowski et al.: Demystifying MMD GANs, arXiv 1801.01401.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features in buffer")
        metric = KernelInceptionDistance(
            GivenFeatures(real.shape[1]), subsets=SUBSETS, subset_size=min(len(real), len(images), SUBSET_SIZE)
        )
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(images).double(), real=False)
    with isolated_rng(derive_seed("kid", seed)):
        return float(metric.compute()[0])


def _compute(sample: Sample, comparison: Comparison) -> dict[str, float]:
    return {"kid": kernel_distance(comparison.reference.features, sample.features, comparison.seed)}


def _unresolvable(sample: Sample, comparison: Comparison) -> str:
    return too_few(sample, comparison, 2, "pairs of images")


KID = FidelityMetric("kid", (Column("kid", "KID", 4, higher_is_better=False),), _compute, _unresolvable)
