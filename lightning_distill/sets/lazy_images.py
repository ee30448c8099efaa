"""Images on disk behind the indexing interface of a tensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.utils.lazy_arrays import take


class LazyImages:
    """Pixels of a `LabeledSet` that stay on disk and are read batch by batch.

    Args:
        images: Array ``(N, C, H, W)`` in pixel units, on disk.
        transform: Function applied to each batch ``(n, C, H, W)`` after it was read.
    """

    def __init__(
        self, images: NDArray[np.generic], transform: Callable[[Tensor], Tensor] = lambda pixels: pixels
    ) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.transform(torch.from_numpy(np.ascontiguousarray(self.images[rows.cpu().numpy()])))

    def take(self, rows: Tensor) -> LazyImages:
        """Select rows without reading them."""
        return LazyImages(take(self.images, rows.cpu().numpy()), self.transform)

    def map(self, transform: Callable[[Tensor], Tensor]) -> LazyImages:
        """Append a function to the transform of each batch."""
        before = self.transform
        return LazyImages(self.images, lambda pixels: transform(before(pixels)))
