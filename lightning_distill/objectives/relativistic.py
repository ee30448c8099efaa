"""Relativistic regularised objective of a GAN (R3GAN): real and generated images are judged in pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""Return the relativistic loss of the critic D without its penalties.

    .. math:: \frac{1}{B} \sum_i \log(1 + e^{D(G(z_i)) - D(x_i)})

    Args:
        real: Logits ``(B,)`` of real images x.
        fake: Logits ``(B,)`` of generated images G(z) with the labels of the real ones, in the same order.

    Returns:
        A scalar, float32.

    Reference:
        Huang, Gokaslan, Kuleshov, Tompkin: The GAN is dead; long live the GAN!, NeurIPS 2024, arXiv 2501.05441,
        equation 3, with f(t) = -log(1 + exp(-t)).
    """
    return F.softplus(fake.float() - real.float()).mean()


def generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    r"""Return the relativistic loss of the generator G.

    .. math:: \frac{1}{B} \sum_i \log(1 + e^{D(x_i) - D(G(z_i))})

    Args:
        real: Logits ``(B,)`` of real images.
        fake: Logits ``(B,)`` of generated images, in the same order.
    """
    return critic_loss(fake, real)


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    r"""Return the zero-centred gradient penalty of the critic: R1 on real and R2 on generated images.

    .. math:: \frac{1}{B} \sum_i \| \nabla_{x_i} D(x_i) \|^2

    The critic adds :math:`\gamma / 2` times the sum of both penalties to its loss.

    Args:
        logits: Logits ``(B,)`` of the images.
        images: Images ``(B, C, H, W)`` that require gradients and from which the logits were computed.

    Returns:
        A scalar, float32, differentiable with respect to the parameters of the critic.
    """
    (gradient,) = torch.autograd.grad(logits.float().sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
