"""What a network that gives several labels learns by."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def label_entropy(logits: Tensor, targets: Tensor, reduction: Literal["mean", "sum", "none"] = "mean") -> Tensor:
    r"""Binary cross-entropies of an image's labels, added up: a logit's gradient is then that of cross-entropy.

    .. math:: \ell_n = -\sum_k t_{nk} \log\sigma(z_{nk}) + (1 - t_{nk}) \log(1 - \sigma(z_{nk})), \qquad
        \partial\ell_n / \partial z_{nk} = \sigma(z_{nk}) - t_{nk}

    So the learning rates of protocols and methods, made for cross-entropy, fit as they are. MedMNIST's own training
    takes the mean over labels, by Adam, which does not mind.

    Args:
        logits: z, ``(N, K)``.
        targets: t, ``(N, K)``, 0/1 or probabilities, each label for itself.
        reduction: over images: ``mean``, ``sum`` or ``none``, which gives ``(N,)``.

    """
    losses = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").sum(-1)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()
