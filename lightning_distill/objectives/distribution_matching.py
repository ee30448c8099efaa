"""Objective of distribution matching."""

from __future__ import annotations

from torch import Tensor


def mean_embedding_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    r"""Return the squared distance of the mean embeddings of a class, an estimate of the maximum mean discrepancy.

    .. math:: \bigl\| \tfrac1B \sum_b \psi(x_b) - \tfrac1M \sum_m \psi(s_m) \bigr\|^2

    The distance is a *sum* over the F features, computed in float32. Real embeddings are not differentiated.

    Args:
        real: Embeddings of real images, ``(B, F)``.
        synthetic: Embeddings of synthetic images, ``(M, F)``.

    Returns:
        A scalar, float32.

    Reference:
        Zhao, Bilen: Dataset Condensation with Distribution Matching, WACV 2023, arXiv 2110.04181, equation 4.
    """
    difference = real.detach().float().mean(0) - synthetic.float().mean(0)  # (F,)
    return difference.square().sum()
