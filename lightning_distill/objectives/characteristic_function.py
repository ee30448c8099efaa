"""Objective of characteristic function matching."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Number of random frequencies of a class; the paper uses 1,024 to 4,096.
FREQUENCIES = 1024
#: Weight of the distance in the paper's code. It makes up for features of length 1.
WEIGHT = 300.0
#: Smallest phase term under the root, where the derivative of the root is unbounded.
EPSILON = 1e-12


def characteristic_function_distance(real: Tensor, synthetic: Tensor, frequencies: Tensor | None = None) -> Tensor:
    r"""Return the mean distance of two empirical characteristic functions over random frequencies.

    With :math:`\phi(t) = \tfrac1N \sum_n e^{i \langle t, f_n\rangle}` of features divided by their length:

    .. math:: \frac{300}{T} \sum_t \sqrt{\tfrac12 (|\phi_r| - |\phi_s|)^2
        + \tfrac12 \cdot 2 (|\phi_r||\phi_s| - \operatorname{Re}\phi_r \operatorname{Re}\phi_s
        - \operatorname{Im}\phi_r \operatorname{Im}\phi_s)}

    The first term compares amplitudes (how spread features are), the second one phases (where they are). With equal
    weights, as in the paper, the root is :math:`|\phi_r - \phi_s| / \sqrt2`. Real embeddings are not differentiated,
    and everything is computed in float32. The paper's sampling network is not used: frequencies are standard normal.

    Args:
        real: Embeddings of real images, ``(B, F)``.
        synthetic: Embeddings of synthetic images, ``(M, F)``.
        frequencies: Frequencies t, ``(T, F)``; ``None`` draws 1,024 from torch's current CPU random stream.

    Returns:
        A scalar, float32, between 0 and 425.

    Example:
        >>> real = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> characteristic_function_distance(real, real.flip(0)).item() < 0.1
        True

    Reference:
        Wang et al.: Dataset Distillation with Neural Characteristic Function, CVPR 2025, arXiv 2502.20653, and its
        code for the weight.
    """
    t = torch.randn(FREQUENCIES, real.shape[1]) if frequencies is None else frequencies
    with torch.autocast(synthetic.device.type, enabled=False):
        angles = [F.normalize(x.float(), dim=1) @ t.to(x.device).T for x in (real.detach(), synthetic)]  # (N, T) each
        means = [torch.cat([angle.cos().mean(0), angle.sin().mean(0)]) for angle in angles]  # (2 T,) each
        return characteristic_distance(means[0], means[1])


def characteristic_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Return the distances ``(...)`` of characteristic functions ``(..., 2 T)``: real parts, then imaginary parts."""
    (real_cos, real_sin), (cos, sin) = real.chunk(2, -1), synthetic.chunk(2, -1)
    real_length, length = torch.hypot(real_cos, real_sin), torch.hypot(cos, sin)
    phase = (real_length * length - real_cos * cos - real_sin * sin).clamp(min=EPSILON)
    return WEIGHT * (0.5 * (real_length - length).square() + phase).sqrt().mean(-1)
