"""Training set of a student: pixels, labels and the statistics to normalise by."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from lightning_distill.sets.formation import decode
from lightning_distill.sets.summary import describe_set
from lightning_distill.spec import DataSpec


@dataclass(frozen=True, repr=False)
class LabeledSet:
    """Training set of a student.

    Args:
        pixels: Images ``(N, C, H, W)`` in pixel units, any dtype, on the CPU. `LazyImages` for real images on disk.
        labels: Indices ``(N,)`` int64 into `DataSpec.balance_groups`. Multi-label data may give 0/1 rows ``(N, K)``.
        spec: Classes, and the mean and std that normalise the pixels.
        soft_labels: Class probabilities that replace the labels, one row for each sub-image, ``(N * f * f, K)``, or
            None.
        lr: Learned learning rate that replaces the protocol's, or None.
        formation: Number f of sub-images along each side of an image, see `formation.decode`.

    Example:
        >>> import torch
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(0.0,), std=(255.0,))
        >>> data = LabeledSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), spec)
        >>> data.targets.tolist()
        [0, 1]
        >>> data
        LabeledSet(2 images, 2 classes x 1, 1x8x8)
    """

    pixels: Tensor
    labels: Tensor
    spec: DataSpec
    soft_labels: Tensor | None = None
    lr: float | None = None
    formation: int = 1

    def __repr__(self) -> str:
        """Return number, classes and shape of the images in one line."""
        soft = ", soft labels" if self.soft_labels is not None else ""
        return f"LabeledSet({describe_set(self.labels, self.spec, self.formation)}{soft})"

    @property
    def targets(self) -> Tensor:
        """Training targets of the sub-images: labels ``(M,)``, 0/1 rows ``(M, K)`` or probabilities ``(M, K)``."""
        if self.soft_labels is not None:
            return self.soft_labels
        labels = self.labels.repeat_interleave(self.formation**2, 0) if self.formation > 1 else self.labels
        return labels.float() if labels.ndim == 2 else self.spec.targets(labels)

    def decode(self) -> LabeledSet:
        """Return the set of all sub-images at full size, float32 in pixel units; without sub-images the set itself."""
        if self.formation == 1:
            return self
        labels = self.labels.repeat_interleave(self.formation**2, 0)
        return replace(self, pixels=decode(self.pixels.float(), self.formation), labels=labels, formation=1)
