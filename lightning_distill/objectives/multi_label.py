"""Training loss of networks with several labels per image."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def label_entropy(logits: Tensor, targets: Tensor, reduction: Literal["mean", "sum", "none"] = "mean") -> Tensor:
    r"""Return the binary cross-entropies of an image's labels, summed, so that gradients scale as in cross-entropy.

    .. math:: \ell_n = -\sum_k t_{nk} \log\sigma(z_{nk}) + (1 - t_{nk}) \log(1 - \sigma(z_{nk})), \qquad
        \partial\ell_n / \partial z_{nk} = \sigma(z_{nk}) - t_{nk}

    Learning rates of protocols and methods, chosen for cross-entropy, then stay valid. MedMNIST's own training takes
    the mean over labels, with Adam, which is invariant to that scale.

    Args:
        logits: Logits z, ``(N, K)``.
        targets: Targets t, ``(N, K)``, 0/1 or one probability for each label.
        reduction: Reduction over images: ``mean`` (default), ``sum`` or ``none``, which returns ``(N,)``.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").sum(-1)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()
