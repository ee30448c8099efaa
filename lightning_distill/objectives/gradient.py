"""The objectives of gradient matching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Distance = Literal["rowwise", "mse", "cosine"]
EPSILON = 1e-6


def gradient_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor], distance: Distance = "rowwise") -> Tensor:
    r"""How far two gradients of a network's loss point apart.

    With :math:`a, b` the real and the synthetic gradient:

    ``rowwise`` (the paper's): each tensor of two or more dimensions is cut into rows, one an output unit (a convolution
    ``(out, in, kh, kw)`` into ``out`` rows of ``in * kh * kw``, a linear layer as it is, a layer norm ``(C, H, W)``
    into C rows); vectors, that is biases and norms' weights, count nothing:

    .. math:: \sum_{\text{tensors}} \sum_{\text{rows}} 1 - \frac{\langle a, b\rangle}{|a|\,|b| + 10^{-6}}

    ``mse``, all tensors: :math:`\sum (a - b)^2`. ``cosine``, all tensors as one vector:
    :math:`1 - \langle a, b\rangle / (|a|\,|b| + 10^{-6})`.

    The real gradient is not differentiated; sums are taken in float32 or better.

    Args:
        real: one gradient a parameter.
        synthetic: the same shapes.
        distance: which of the three.

    Returns:
        A scalar; ``rowwise`` lies in [0, 2 x rows], 394 rows for the standard ConvNet and ten classes.

    Raises:
        ValueError: unknown distance.

    Reference:
        Zhao, Mopuri, Bilen: Dataset Condensation with Gradient Matching, ICLR 2021, arXiv 2006.05929, equation 10, and
        its code for ``mse`` and ``cosine``.
    """
    pairs = [(_wide(a.detach()), _wide(b)) for a, b in zip(real, synthetic, strict=True)]
    if distance == "rowwise":
        matrices = [(a.flatten(1), b.flatten(1)) for a, b in pairs if a.ndim > 1]  # (rows, columns) each
        return torch.stack([_one_minus_cosine(a, b).sum() for a, b in matrices]).sum()
    flat = torch.cat([a.flatten() for a, _ in pairs]), torch.cat([b.flatten() for _, b in pairs])
    if distance == "cosine":
        return _one_minus_cosine(*flat)
    if distance == "mse":
        return (flat[0] - flat[1]).square().sum()
    raise ValueError(f"unknown distance {distance!r}; use one of {', '.join(get_args(Distance))}")


def _one_minus_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Over the last dimension."""
    lengths = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    cosine: Tensor = (a * b).sum(-1) / (lengths + EPSILON)
    return 1 - cosine


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
