"""Objective of rectified flow: velocity from data to noise along straight lines."""

from __future__ import annotations

import torch
from torch import Tensor


def flow_point(images: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    r"""Return the points between images and noise at the times of each image.

    .. math:: x_s = (1 - s) x + s e

    Args:
        images: Images x ``(B, C, H, W)``.
        noise: Standard normal noise e of the shape of the images.
        times: Times s ``(B,)`` from 0 (image) to 1 (noise).
    """
    s = times.view(-1, *[1] * (images.ndim - 1))  # (B, 1, 1, 1)
    return (1 - s) * images + s * noise


def rectified_flow_loss(velocity: Tensor, images: Tensor, noise: Tensor) -> Tensor:
    r"""Return the mean squared error of the predicted velocity :math:`v(x_s, s)`.

    .. math:: \frac{1}{B C H W} \sum (v - (e - x))^2

    Args:
        velocity: Prediction ``(B, C, H, W)`` at the points of `flow_point`.
        images: Images x ``(B, C, H, W)``.
        noise: Noise e of the same shape.

    Returns:
        A scalar, float32.

    Reference:
        Liu, Gong, Liu: Flow Straight and Fast, ICLR 2023, arXiv 2209.03003, equation 1, with time running from data to
        noise, as in Esser et al., arXiv 2403.03206.
    """
    return (velocity.float() - (noise - images).float()).square().mean()


def logit_normal_times(count: int, device: torch.device | str = "cpu") -> Tensor:
    r"""Draw times :math:`s = \sigma(n)`, n standard normal, which prefer the middle of the path.

    Args:
        count: Number of times.
        device: Device of the times, whose random stream is used.

    Returns:
        Times ``(count,)`` float32.

    Reference:
        Esser et al.: Scaling Rectified Flow Transformers, ICML 2024, arXiv 2403.03206, section 3.1.
    """
    return torch.randn(count, device=device).sigmoid()
