"""Exponential moving average of the weights of a network, kept in its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

#: Function from the number of averaged steps n, a tensor without dimensions, to the weight of the old average.
Decay = Callable[[Tensor], Tensor]


def averaged(network: nn.Module, decay: Decay) -> AveragedModel:
    r"""Return an exponential moving average :math:`a \leftarrow d_n a + (1 - d_n) \theta` of the weights of a network.

    The first update copies the weights.

    Args:
        network: Network to average.
        decay: Decay :math:`d_n` at step n.
    """

    @torch.no_grad()
    def update(averages: Iterable[Tensor], values: Iterable[Tensor], steps: Tensor | int) -> None:
        weight = 1 - decay(torch.as_tensor(steps, dtype=torch.float32))
        for average, value in zip(averages, values, strict=True):
            average.lerp_(value.to(average), weight.to(average))

    model = AveragedModel(network, multi_avg_fn=update)
    model.requires_grad_(False)
    return model


def constant_decay(decay: float) -> Decay:
    r"""Return :math:`d_n = \min(d, (1 + n) / (10 + n))`: the average of a short run is not that of its first weights.

    Args:
        decay: Largest decay d.
    """
    return lambda steps: ((1 + steps) / (10 + steps)).clamp(max=decay)


def relative_decay(share: float) -> Decay:
    r"""Return the decay with a half-life of a share of the steps so far, :math:`d_n = 2^{-1 / (share \cdot n)}`.

    Args:
        share: Half-life as a share of the steps, 0 to 1.
    """
    return lambda steps: torch.pow(0.5, 1 / (share * steps))
