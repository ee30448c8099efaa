"""Objective of kernel ridge regression from synthetic to real images."""

from __future__ import annotations

import torch
from torch import Tensor

#: Least ridge after a singular kernel, and the factor by which it is raised until the kernel can be inverted.
LEAST_RIDGE, RIDGE_FACTOR = 1e-8, 10.0
#: Least mean diagonal of a kernel; a network with features of zero then predicts zero.
LEAST_DIAGONAL = 1e-12


def ridge_weights(features: Tensor, targets: Tensor, ridge: float) -> tuple[Tensor, float]:
    r"""Return the weights of kernel ridge regression with the linear kernel of features.

    With the synthetic features :math:`S` (M, F), the kernel :math:`K_{ss} = S S^\top` and
    :math:`\lambda` = ``ridge`` times the mean diagonal of :math:`K_{ss}`:

    .. math:: W = S^\top (K_{ss} + \lambda I)^{-1} Y_s

    The prediction of real features :math:`R` (B, F) is :math:`R W = K_{rs} (K_{ss} + \lambda I)^{-1} Y_s`, so that the
    real images can be processed in chunks: the kernel of real and synthetic images is never stored. The system is
    solved in float64 outside of autocast (float32 on devices without float64). Where the kernel is singular the ridge
    is raised by factors of ten.

    Args:
        features: Synthetic features ``(M, F)``, differentiated.
        targets: Synthetic targets ``(M, T)``, differentiated.
        ridge: Regularisation relative to the mean diagonal of the kernel, at least 0.

    Returns:
        The weights ``(F, T)`` in the dtype of the solution, and the ridge that was used.

    Reference:
        Nguyen, Chen, Lee: Dataset Meta-Learning from Kernel Ridge-Regression, ICLR 2021, arXiv 2011.00050, equation 4.
    """
    dtype = torch.float32 if features.device.type == "mps" else torch.float64
    with torch.autocast(features.device.type, enabled=False):
        s, y = features.to(dtype), targets.to(dtype)
        kernel = s @ s.T  # (M, M)
        diagonal = kernel.diagonal().mean().clamp(min=LEAST_DIAGONAL)
        while True:
            regularised = kernel + ridge * diagonal * torch.eye(len(s), dtype=dtype, device=s.device)
            factor, info = torch.linalg.cholesky_ex(regularised)
            pivots = factor.detach().diagonal().square()
            least = len(s) * torch.finfo(dtype).eps * regularised.detach().diagonal().max()
            if not (info > 0 or pivots.min() <= least) or not kernel.isfinite().all():  # the caller has to see NaN
                break
            ridge = max(RIDGE_FACTOR * ridge, LEAST_RIDGE)
        return s.T @ torch.cholesky_solve(y, factor), ridge


def ridge_loss(weights: Tensor, real: Tensor, targets: Tensor) -> Tensor:
    r"""Return the squared error of the predictions of real targets, summed over images and targets.

    .. math:: \| R W - Y_r \|^2

    Divided by the number B of real images and with the weights of `ridge_weights` this is the loss of FRePo and KIP up
    to a constant factor. Real features are not differentiated.

    Args:
        weights: Weights W ``(F, T)``.
        real: Real features R ``(B, F)``.
        targets: Real targets ``(B, T)``.

    Returns:
        A scalar in the dtype of the weights.

    Reference:
        Zhou, Nezhadarya, Ba: Dataset Distillation using Neural Feature Regression, NeurIPS 2022, arXiv 2206.00719,
        equation 3.
    """
    with torch.autocast(real.device.type, enabled=False):
        return (real.detach().to(weights.dtype) @ weights - targets.to(weights.dtype)).square().sum()
