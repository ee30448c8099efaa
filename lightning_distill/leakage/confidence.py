"""Confidence of networks in the true label of an image, and the queries that an attacker makes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

#: Views of an image that an attacker asks a network about, the image itself first.
QUERIES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x,
    lambda x: x.flip(3),
    lambda x: x.roll(1, 3),
    lambda x: x.roll(-1, 3),
    lambda x: x.roll(1, 2),
    lambda x: x.roll(-1, 2),
)


def label_log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Return the log-odds of the true label, ``(B,)``: the confidence of LiRA.

    For classes :math:`\log p_y - \log\sum_{j \ne y} p_j`, which is :math:`z_y` minus the logsumexp of the other logits.
    For multi-label data p is the probability of the whole row of labels: the product of those of its labels.

    Args:
        logits: Logits ``(B, K)``.
        labels: Labels ``(B,)`` or 0/1 targets ``(B, K)``.

    Example:
        >>> label_log_odds(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).tolist()
        [2.0]
    """
    logits = logits.double()
    if labels.ndim == 2:
        log_p = F.logsigmoid(torch.where(labels > 0, logits, -logits)).sum(1)
        return (log_p - torch.log(-torch.expm1(log_p.clamp(max=-1e-12)))).float()
    true = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return (true - others).float()
