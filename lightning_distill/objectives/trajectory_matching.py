"""Objective of trajectory matching."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def trajectory_distance(student: Sequence[Tensor], start: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    r"""Return the squared distance of student and target, relative to that of start and target (0 at the target).

    .. math:: \frac{\|\hat\theta_{t+N} - \theta^*_{t+M}\|^2}{\|\theta^*_t - \theta^*_{t+M}\|^2}

    The norms are over all parameters together. Only the student is differentiated.

    Args:
        student: Parameters after N steps on the synthetic set.
        start: Parameters of the expert after epoch t, the initial ones of the student.
        target: Parameters of the expert after epoch t + M.

    Returns:
        A scalar, float32 or better.

    Raises:
        ValueError: Start and target are equal.

    Reference:
        Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv 2203.11932,
        equation 2.
    """
    remaining = _squared(student, [t.detach() for t in target])
    total = _squared(start, target).detach()
    if not total > 0:
        raise ValueError("the expert's parameters are the same at start and target; it has not learned anything")
    return remaining / total


def _squared(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([(_wide(x) - _wide(y)).square().sum() for x, y in zip(a, b, strict=True)]).sum()


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
