"""Training set of a student: pixels, labels and the statistics to normalise by."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_distill.spec import DataSpec


@dataclass(frozen=True)
class LabeledSet:
    """Training set of a student.

    Args:
        pixels: Images ``(N, C, H, W)`` in pixel units, any dtype, on the CPU. `LazyImages` for real images on disk.
        labels: Indices ``(N,)`` int64 into `DataSpec.balance_groups`. Multi-label data may give 0/1 rows ``(N, K)``.
        spec: Classes, and the mean and std that normalise the pixels.
        soft_labels: Learned class probabilities ``(N, K)`` that replace the labels, or None.
        lr: Learned learning rate that replaces the protocol's, or None.

    Example:
        >>> import torch
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(0.0,), std=(255.0,))
        >>> data = LabeledSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), spec)
        >>> data.targets.tolist()
        [0, 1]
    """

    pixels: Tensor
    labels: Tensor
    spec: DataSpec
    soft_labels: Tensor | None = None
    lr: float | None = None

    @property
    def targets(self) -> Tensor:
        """Training targets: labels ``(N,)``, 0/1 rows ``(N, K)`` for multi-label data, or probabilities ``(N, K)``."""
        if self.soft_labels is not None:
            return self.soft_labels
        return self.labels.float() if self.labels.ndim == 2 else self.spec.targets(self.labels)
