"""Real images on disk, where students expect a tensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.utils.lazy_arrays import take


class LazyImages:
    """Stands in for the pixels of a `LabeledSet` that are only looked at batch by batch: they are read then.

    Args:
        images: ``(N, C, H, W)`` in pixel units, on disk.
        change: what is done to images ``(n, C, H, W)`` that were read.
    """

    def __init__(self, images: NDArray[np.generic], change: Callable[[Tensor], Tensor] = lambda pixels: pixels) -> None:
        self.images, self.change = images, change

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.change(torch.from_numpy(np.ascontiguousarray(self.images[rows.cpu().numpy()])))

    def take(self, rows: Tensor) -> LazyImages:
        """The images of these rows, still on disk."""
        return LazyImages(take(self.images, rows.cpu().numpy()), self.change)

    def map(self, change: Callable[[Tensor], Tensor]) -> LazyImages:
        """The same images, one more thing being done to those that are read."""
        before = self.change
        return LazyImages(self.images, lambda pixels: change(before(pixels)))
