"""Prior of soft labels: the class frequencies that their probabilities assume."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_distill.evaluation.metrics.prior_correction import class_priors, prior_offset
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec

#: Class frequencies that the probabilities assume: those of the real training data, or equal ones.
Prior = Literal["natural", "balanced"]
PRIORS: tuple[Prior, ...] = ("natural", "balanced")


def class_frequencies(data: LabeledSet) -> Tensor:
    """Return the fraction ``(K,)`` float64 of images in each class; for multi-label data, with each label."""
    return data.targets.double().mean(0) if data.spec.multi_label else class_priors(data)


def prior_logit_offset(frequencies: Tensor, prior: Prior, spec: DataSpec) -> Tensor:
    r"""Return the offset ``(K,)`` that moves logits from the training frequencies :math:`\rho` to a prior.

    For ``balanced`` it is :math:`-\log \rho_k - \log K` for classes, and :math:`\log(1 - \rho_k) - \log \rho_k` for
    the labels of multi-label data, which moves the frequency of each label to one half. For ``natural`` it is zero.

    Args:
        frequencies: Fraction ``(K,)`` of training images in each class, or with each label.
        prior: ``natural`` or ``balanced``.
        spec: Task and class names.

    Raises:
        ValueError: ``prior`` is unknown, or a class has no training image.
    """
    check_label_options(prior)
    if prior == "natural":
        return torch.zeros(spec.num_classes)
    undefined = (frequencies <= 0) | ((frequencies >= 1) & spec.multi_label)
    if bool(undefined.any()):
        names = ", ".join(spec.class_names[k] for k in undefined.nonzero().flatten().tolist())
        raise ValueError(f"prior='balanced' needs training images with and without {names}; use prior='natural'")
    if spec.multi_label:
        pairs = torch.stack([1 - frequencies, frequencies])  # (2, K): without and with the label
        offsets = prior_offset(pairs, torch.full_like(pairs, 0.5))
        return offsets[1] - offsets[0]
    return prior_offset(frequencies, torch.full_like(frequencies, 1 / spec.num_classes))


def check_label_options(prior: str, views: int = 0) -> None:
    """Raise ValueError for an unknown prior or a negative number of views."""
    if prior not in PRIORS:
        raise ValueError(f"unknown prior {prior!r}; use one of {', '.join(PRIORS)}")
    if views < 0:
        raise ValueError(f"views={views}; it must be 0 (no augmentation) or more")
