"""A class-balanced batch of real images, in the type they are held in until they are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_distill.spec import DataSpec


class RealBatch:
    """As many real images of every class, in pixel units; normalised a few classes at a time.

    Of multi-label data, a combination of labels (`DataSpec.strata`) is a class here.

    Args:
        pixels: ``(K * per_class, C, H, W)``, any dtype, ordered by class.
        spec: K, mean and std.

    Attributes:
        per_class: images of each class.
    """

    def __init__(self, pixels: Tensor, spec: DataSpec) -> None:
        self.pixels, self.spec = pixels, spec
        self.per_class = len(pixels) // len(spec.strata)

    def of_class(self, label: int) -> Tensor:
        """The images of one class, ``(per_class, C, H, W)``, normalised float32."""
        return self.spec.normalize(self.pixels[label * self.per_class : (label + 1) * self.per_class])

    def of_classes(self, labels: Sequence[int], first: int | None = None) -> Tensor:
        """The images of some classes one after the other, or the ``first`` few of each: ``(N, C, H, W)``."""
        return torch.cat([self.of_class(label)[:first] for label in labels])
