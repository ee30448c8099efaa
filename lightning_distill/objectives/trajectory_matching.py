"""The objective of trajectory matching."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def trajectory_distance(student: Sequence[Tensor], start: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    r"""How much of the expert's way is left: 0 where the student lands on the target, 1 where it stays put.

    .. math:: \frac{\|\hat\theta_{t+N} - \theta^*_{t+M}\|^2}{\|\theta^*_t - \theta^*_{t+M}\|^2}

    over all parameters together. Only the student is differentiated.

    Args:
        student: parameters after N steps on the synthetic set.
        start: the expert's after epoch t, where the student began.
        target: the expert's after epoch t + M.

    Returns:
        A scalar, float32 or better.

    Raises:
        ValueError: start and target are equal, so that there is no way to go.

    Reference:
        Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv 2203.11932,
        equation 2.
    """
    left = _squared(student, [t.detach() for t in target])
    way = _squared(start, target).detach()
    if not way > 0:
        raise ValueError("the expert's parameters are the same at start and target; it has not learned anything")
    return left / way


def _squared(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([(_wide(x) - _wide(y)).square().sum() for x, y in zip(a, b, strict=True)]).sum()


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
