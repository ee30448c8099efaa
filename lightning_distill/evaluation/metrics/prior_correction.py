"""Classes as frequent as they really are: students of balanced images believe that all classes are equally likely."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.sets.labeled_set import LabeledSet


def class_priors(data: LabeledSet) -> Tensor:
    """The share of every class in what a student learns from, ``(K,)`` float64; learned probabilities count as such."""
    if data.soft_labels is not None:
        weights = data.soft_labels.double().sum(0)
    else:
        weights = torch.bincount(data.labels, minlength=data.spec.num_classes).double()
    return weights / weights.sum()


def prior_offset(learned: Tensor, real: Tensor) -> Tensor:
    r"""What to add to the logits of a student so that its probabilities are those under the real class shares.

    By Bayes' rule :math:`p(y \mid x) \propto q(y \mid x)\, \pi_y / \rho_y` where q was learned under shares
    :math:`\rho`, so that the offset is :math:`\log \pi - \log \rho`. No image is looked at. Accuracy usually rises and
    balanced accuracy falls: neither is cheating, they are answers to two questions.

    Args:
        learned: :math:`\rho`, ``(K,)``, of what the student learned from.
        real: :math:`\pi`, ``(K,)``, of the real training data.

    Returns:
        ``(K,)`` float32.

    Raises:
        ValueError: a class with no share on either side.

    Reference:
        Saerens et al.: Adjusting the Outputs of a Classifier to New a Priori Probabilities, Neural Computation 2002.
    """
    if not bool((learned > 0).all() and (real > 0).all()):
        raise ValueError("a class without images has no prior to correct for; give every class an image")
    return (real.log() - learned.log()).float()
