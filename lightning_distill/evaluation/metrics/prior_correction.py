"""Prior correction: shift the logits of students trained on balanced data to the real class frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.sets.labeled_set import LabeledSet


def class_priors(data: LabeledSet) -> Tensor:
    """Compute the class frequencies ``(K,)`` float64 of a training set, from soft labels if it has them."""
    if data.soft_labels is not None:
        weights = data.soft_labels.double().sum(0)
    else:
        weights = torch.bincount(data.labels, minlength=data.spec.num_classes).double()
    return weights / weights.sum()


def prior_offset(learned: Tensor, real: Tensor) -> Tensor:
    r"""Compute the logit offset that corrects a student to the real class frequencies.

    By Bayes' rule :math:`p(y \mid x) \propto q(y \mid x)\, \pi_y / \rho_y` for a model q trained under frequencies
    :math:`\rho`, so the offset is :math:`\log \pi - \log \rho`. No image is used. Accuracy usually rises and balanced
    accuracy falls.

    Args:
        learned: Class frequencies :math:`\rho` ``(K,)`` of the student's training set.
        real: Class frequencies :math:`\pi` ``(K,)`` of the real training data.

    Returns:
        Offset ``(K,)`` float32.

    Raises:
        ValueError: A frequency is zero.

    Reference:
        Saerens et al.: Adjusting the Outputs of a Classifier to New a Priori Probabilities, Neural Computation 2002.
    """
    if not bool((learned > 0).all() and (real > 0).all()):
        raise ValueError("prior correction needs at least one image of every class")
    return (real.log() - learned.log()).float()
