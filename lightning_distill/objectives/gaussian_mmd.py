"""Objective of distribution matching with all moments."""

from __future__ import annotations

import torch
from torch import Tensor

#: Widths of the Gaussian kernels, in units of the mean squared distance of two embeddings.
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def gaussian_mmd(real: Tensor, synthetic: Tensor) -> Tensor:
    r"""Return the squared maximum mean discrepancy of two samples under Gaussian kernels, which matches all moments.

    With :math:`k` the mean of five kernels :math:`e^{-\|a - b\|^2 / (w h)}`, :math:`w \in \{\frac14, \dots, 4\}`, and
    :math:`h` the mean squared distance of two different rows of both samples together:

    .. math:: h \Bigl( \tfrac{1}{B^2} \sum_{b,b'} k(r_b, r_{b'}) + \tfrac{1}{M^2} \sum_{m,m'} k(s_m, s_{m'})
        - \tfrac{2}{BM} \sum_{b,m} k(r_b, s_m) \Bigr)

    The factor h, a constant for the derivative, gives the value the unit of `mean_embedding_distance`, so that learning
    rates stay valid: for wide kernels it tends to a multiple of that distance. Real embeddings are not differentiated,
    and everything is computed in float32.

    Args:
        real: Embeddings of real images, ``(B, F)``.
        synthetic: Embeddings of synthetic images, ``(M, F)``.

    Returns:
        A scalar, float32.

    Example:
        >>> real = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> gaussian_mmd(real, real.flip(0)).item()
        0.0

    Reference:
        Zhang et al.: M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy, AAAI 2024, arXiv 2312.15927.
        Long et al.: Learning Transferable Features with Deep Adaptation Networks, ICML 2015, arXiv 1502.02791 (several
        widths at once).
    """
    rows = torch.cat([real.detach().float(), synthetic.float()])  # (B + M, F)
    rows = rows - rows.detach().mean(0)  # distances stay, and float32 loses less
    with torch.autocast(rows.device.type, enabled=False):
        lengths = rows.square().sum(1)
        distances = (lengths[:, None] + lengths - 2 * rows @ rows.T).clamp(min=0)  # (B + M, B + M)
        count = len(rows)
        width = (distances.detach().sum() / max(1, count * (count - 1))).clamp(min=torch.finfo(torch.float32).tiny)
        kernel = torch.stack([(-distances / (w * width)).exp() for w in WIDTHS]).mean(0)
        shares = torch.cat([rows.new_full((len(x),), sign / len(x)) for x, sign in ((real, 1), (synthetic, -1))])
        return width * (shares @ kernel @ shares)
