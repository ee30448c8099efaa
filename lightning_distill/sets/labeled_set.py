"""What a student learns from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_distill.spec import DataSpec


@dataclass(frozen=True)
class LabeledSet:
    """What a student learns from.

    Args:
        pixels: ``(N, C, H, W)`` in pixel units, any dtype, on the CPU; `stored.LazyImages` where all real images are
            meant and lie on disk.
        labels: ``(N,)`` int64, numbers of `DataSpec.balance_groups`; of multi-label data also 0/1 rows ``(N, K)``.
        spec: mean and std to normalise by, and the classes.
        soft: probabilities ``(N, K)`` to learn from instead of the labels, where a set has learned them.
        lr: learning rate to learn with instead of the protocol's, where a set has learned one.
    """

    pixels: Tensor
    labels: Tensor
    spec: DataSpec
    soft_labels: Tensor | None = None
    lr: float | None = None

    @property
    def targets(self) -> Tensor:
        """What is learned: labels ``(N,)``, 0/1 rows ``(N, K)`` of multi-label data, or probabilities ``(N, K)``."""
        if self.soft_labels is not None:
            return self.soft_labels
        return self.labels.float() if self.labels.ndim == 2 else self.spec.targets(self.labels)
