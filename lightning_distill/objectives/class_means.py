"""Objective that keeps class means of features where those of the real images are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_means(features: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the mean features ``(K, F)`` of K classes.

    Args:
        features: Features ``(N, F)``, ordered by class.
        counts: Number of rows of each class.
    """
    return torch.stack([rows.mean(0) for rows in features.split(list(counts))])


def relative_mean_distance(real: Tensor, synthetic: Tensor, all_means: Tensor) -> Tensor:
    r"""Return the squared distances of class means relative to the scatter of all class means, summed over classes.

    .. math:: \frac{\sum_k \| \mu_k - m_k \|^2}{\sum_j \| c_j - \bar c \|^2}

    With the class means :math:`c` of all classes the value does not change with the scale of the features, so that one
    weight fits every network, and classes can be summed in parts. Only the synthetic means are differentiated.

    Args:
        real: Mean features :math:`\mu` of real images of some classes, ``(L, F)``.
        synthetic: Mean features :math:`m` of the synthetic images of these classes, ``(L, F)``.
        all_means: Mean features :math:`c` of all K classes, ``(K, F)``.

    Returns:
        A scalar in the dtype of the synthetic means; 0 where the means of all classes are equal.

    >>> means = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    >>> relative_mean_distance(means + 1, means, means).item()
    2.0
    """
    spread = (all_means - all_means.mean(0)).detach().square().sum()
    distance = (real.detach() - synthetic).square().sum()
    return distance / spread if spread > 0 else 0 * distance
