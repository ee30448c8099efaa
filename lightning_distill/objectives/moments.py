"""Objective of distribution matching with second moments."""

from __future__ import annotations

from torch import Tensor


def moment_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    r"""Return the squared distance of the means and of the second moments of the embeddings of a class.

    .. math:: \bigl\| \tfrac1B \sum_b r_b - \tfrac1M \sum_m s_m \bigr\|^2
        + \bigl\| \tfrac1B \sum_b r_b^2 - \tfrac1M \sum_m s_m^2 \bigr\|^2

    Squares are taken feature by feature. Real embeddings are not differentiated, and everything is in float32.

    Args:
        real: Embeddings of real images, ``(B, F)``.
        synthetic: Embeddings of synthetic images, ``(M, F)``.

    Returns:
        A scalar, float32.

    Reference:
        Zhang et al.: M3D, AAAI 2024, arXiv 2312.15927 (the case of two moments).
    """
    pairs = [(real.detach().float().pow(k).mean(0), synthetic.float().pow(k).mean(0)) for k in (1, 2)]
    first, second = ((a - b).square().sum() for a, b in pairs)
    return first + second
