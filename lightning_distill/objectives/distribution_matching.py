"""The objective of distribution matching."""

from __future__ import annotations

from torch import Tensor


def mean_embedding_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    r"""Squared distance of the mean embeddings of one class: an estimate of the maximum mean discrepancy.

    .. math:: \bigl\| \tfrac1B \sum_b \psi(x_b) - \tfrac1M \sum_m \psi(s_m) \bigr\|^2

    a *sum* over the F features, in float32 whatever the embeddings come in. Real embeddings are not differentiated.

    Args:
        real: embeddings of real images, ``(B, F)``.
        synthetic: embeddings of synthetic images, ``(M, F)``.

    Returns:
        A scalar, float32.

    Reference:
        Zhao, Bilen: Dataset Condensation with Distribution Matching, WACV 2023, arXiv 2110.04181, equation 4.
    """
    difference = real.detach().float().mean(0) - synthetic.float().mean(0)  # (F,)
    return difference.square().sum()
