"""Objectives of gradient matching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor

Distance = Literal["rowwise", "mse", "cosine"]
EPSILON = 1e-6


def gradient_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor], distance: Distance = "rowwise") -> Tensor:
    r"""Return the distance of two gradients of a network's loss.

    With :math:`a, b` the real and the synthetic gradient:

    ``rowwise`` (the paper's): each tensor of two or more dimensions is cut into rows, one per output (a convolution
    ``(out, in, kh, kw)`` into ``out`` rows of ``in * kh * kw``, a linear layer as it is, a layer norm ``(C, H, W)``
    into C rows); vectors, that is biases and norms' weights, are ignored:

    .. math:: \sum_{\text{tensors}} \sum_{\text{rows}} 1 - \frac{\langle a, b\rangle}{|a|\,|b| + 10^{-6}}

    ``mse``, all tensors: :math:`\sum (a - b)^2`. ``cosine``, all tensors as one vector:
    :math:`1 - \langle a, b\rangle / (|a|\,|b| + 10^{-6})`.

    The real gradient is not differentiated; sums are taken in float32 or better.

    Args:
        real: Real gradients, one tensor for each parameter.
        synthetic: Synthetic gradients, with the shapes of the real ones.
        distance: Name of the distance: ``rowwise`` (default), ``mse`` or ``cosine``.

    Returns:
        A scalar; ``rowwise`` lies in [0, 2 x rows], 394 rows for the standard ConvNet and ten classes.

    Raises:
        ValueError: The distance is unknown.

    Reference:
        Zhao, Mopuri, Bilen: Dataset Condensation with Gradient Matching, ICLR 2021, arXiv 2006.05929, equation 10, and
        its code for ``mse`` and ``cosine``.
    """
    pairs = [(_wide(a.detach()), _wide(b)) for a, b in zip(real, synthetic, strict=True)]
    if distance == "rowwise":
        matrices = [(a.flatten(1), b.flatten(1)) for a, b in pairs if a.ndim > 1]  # (rows, columns) each
        cosines = [(a * b).sum(-1) / (_length(a) * _length(b) + EPSILON) for a, b in matrices]
        return torch.stack([(1 - cosine).sum() for cosine in cosines]).sum()
    if distance == "cosine":
        dot = torch.stack([(a * b).sum() for a, b in pairs]).sum()
        lengths = _whole_length([a for a, _ in pairs]) * _whole_length([b for _, b in pairs])
        return 1 - dot / (lengths + EPSILON)
    if distance == "mse":
        return torch.stack([(a - b).square().sum() for a, b in pairs]).sum()
    raise ValueError(f"unknown distance {distance!r}; use one of {', '.join(get_args(Distance))}")


def _length(vectors: Tensor) -> Tensor:
    """Return the norms over the last dimension."""
    return cast(Tensor, torch.linalg.vector_norm(vectors, dim=-1))


def _whole_length(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norm of all tensors as one vector, from norms of rows: a sum of millions is inexact in float32."""
    return _length(torch.cat([_length(t.flatten(1)) if t.ndim > 1 else t for t in tensors]))


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
