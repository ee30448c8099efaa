"""Statistics of embeddings that add up over images: what a signal bank keeps of the real images of a class.

Each is the mean over images of a feature map of one embedding, with a distance between two means. The feature map may
draw random numbers from a seed, never from data, so that the sums of several sites belong together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.objectives.characteristic_function import FREQUENCIES, characteristic_distance
from lightning_distill.objectives.gaussian_mmd import WIDTHS

#: Random frequencies of the Gaussian kernels, a multiple of the number of `gaussian_mmd.WIDTHS`.
KERNEL_FREQUENCIES = 1280


class ClassStatistic(Protocol):
    """Feature map of an embedding, and distance of two means of it."""

    def features(self, embeddings: Tensor) -> Tensor:
        """Return the features ``(N, D)`` float32 of embeddings ``(N, F)``."""
        ...

    def distance(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Return the distances ``(K,)`` of means ``(K, D)``; only the synthetic ones are differentiated."""
        ...


class MeanStatistic:
    """The embedding itself; the squared distance of the means, see `mean_embedding_distance`."""

    def features(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings in float32."""
        return embeddings.float()

    def distance(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Return the squared distances ``(K,)`` of means ``(K, D)``."""
        return (real.detach() - synthetic).square().sum(1)


class MomentStatistic(MeanStatistic):
    """The embedding and its square: the means and the second moments of every feature."""

    def features(self, embeddings: Tensor) -> Tensor:
        """Return ``(N, 2 F)``: the embeddings, and their squares."""
        rows = embeddings.float()
        return torch.cat([rows, rows.square()], 1)


class CharacteristicStatistic:
    """Cosine and sine of random projections of the normalised embedding, see `characteristic_function_distance`.

    Args:
        features: Number F of features of an embedding.
        seed: Seed of the frequencies.
    """

    def __init__(self, features: int, seed: int) -> None:
        self.frequencies = torch.randn(FREQUENCIES, features, generator=torch.Generator().manual_seed(seed))  # (T, F)

    def features(self, embeddings: Tensor) -> Tensor:
        """Return cosine and sine ``(N, 2 T)``."""
        with torch.autocast(embeddings.device.type, enabled=False):
            angles = F.normalize(embeddings.float(), dim=1) @ self.frequencies.to(embeddings.device).T
            return torch.cat([angles.cos(), angles.sin()], 1)

    def distance(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Return the distances ``(K,)`` of characteristic functions ``(K, 2 T)``."""
        return characteristic_distance(real.detach(), synthetic)


class KernelStatistic:
    r"""Random Fourier features of the Gaussian kernels of `gaussian_mmd`, whose squared distance estimates its value.

    A kernel :math:`e^{-\|a - b\|^2 / (w h)}` is the mean of :math:`\cos \langle t, a - b \rangle` over frequencies
    :math:`t \sim N(0, \frac{2}{w h} I)`. The unit h does not come from the data here: it is a mean squared distance of
    embeddings of noise images in the same network.

    Args:
        features: Number F of features of an embedding.
        seed: Seed of the frequencies.
        unit: Unit h of the kernel widths.

    Reference:
        Rahimi, Recht: Random Features for Large-Scale Kernel Machines, NeurIPS 2007.
    """

    def __init__(self, features: int, seed: int, unit: float) -> None:
        directions = torch.randn(KERNEL_FREQUENCIES, features, generator=torch.Generator().manual_seed(seed))
        widths = torch.tensor(WIDTHS).repeat(KERNEL_FREQUENCIES // len(WIDTHS))  # (T,)
        self.frequencies, self.unit = directions * (2 / (widths * unit)).sqrt()[:, None], unit

    def features(self, embeddings: Tensor) -> Tensor:
        """Return random Fourier features ``(N, 2 T)`` of length 1."""
        with torch.autocast(embeddings.device.type, enabled=False):
            angles = embeddings.float() @ self.frequencies.to(embeddings.device).T
            return torch.cat([angles.cos(), angles.sin()], 1) / math.sqrt(KERNEL_FREQUENCIES)

    def distance(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Return the squared discrepancies ``(K,)`` of means ``(K, 2 T)``, in units of the embeddings' distance."""
        return self.unit * (real.detach() - synthetic).square().sum(1)


class ClippedStatistic:
    """Another statistic whose features are scaled down to a largest length: an image then adds at most that to a sum.

    Synthetic images are clipped alike, so that equal images have distance 0.

    Args:
        statistic: Statistic to clip.
        clip: Largest L2 norm of the features of an image.
        typical_norm: Norm of the features of noise images. Distances are multiplied by ``(typical_norm / clip)**2``, so
            that learning rates stay valid.
    """

    def __init__(self, statistic: ClassStatistic, clip: float, typical_norm: float) -> None:
        self.statistic, self.clip = statistic, clip
        self.scale: float = max(1.0, typical_norm / clip) ** 2

    def features(self, embeddings: Tensor) -> Tensor:
        """Return the features ``(N, D)`` float32, of norm ``clip`` at most."""
        return clip_rows(self.statistic.features(embeddings), self.clip)

    def distance(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Return the distances ``(K,)`` of means ``(K, D)``."""
        return self.statistic.distance(real, synthetic) * self.scale


def clip_rows(rows: Tensor, clip: float) -> Tensor:
    """Scale rows ``(N, D)`` of an L2 norm above ``clip`` down to it."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows * (clip / norms.clamp(min=torch.finfo(rows.dtype).tiny)).clamp(max=1.0)


#: Statistic of an objective, from the number of features, a seed, and the unit of kernel widths.
CLASS_STATISTICS: dict[str, Callable[[int, int, float], ClassStatistic]] = {
    "mean": lambda features, seed, unit: MeanStatistic(),
    "moments": lambda features, seed, unit: MomentStatistic(),
    "characteristic": lambda features, seed, unit: CharacteristicStatistic(features, seed),
    "mmd": KernelStatistic,
}
