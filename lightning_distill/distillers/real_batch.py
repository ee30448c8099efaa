"""Class-balanced batch of real images, normalised on access."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_distill.functional.chunking import even_chunk_size
from lightning_distill.spec import DataSpec

#: Bytes of normalised real images that `RealBatch.iter_chunks` yields at once: 111 images of 224 px, 21 of 512 px.
CHUNK_BYTES = 2**26


class RealBatch:
    """Batch with the same number of real images of every class, in pixel units, normalised a few classes at a time.

    For multi-label data a combination of labels (`DataSpec.balance_groups`) counts as a class.

    Args:
        pixels: Images ``(K * per_class, C, H, W)`` of any dtype, ordered by class.
        spec: Description of the data: classes, mean and std.

    Attributes:
        per_class: Number of images of each class.
    """

    def __init__(self, pixels: Tensor, spec: DataSpec) -> None:
        self.pixels, self.spec = pixels, spec
        self.per_class = len(pixels) // len(spec.balance_groups)

    def of_class(self, label: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the images of one class, ``(per_class, C, H, W)``, or a range of them, normalised float32."""
        begin, end = (min(i, self.per_class) for i in (start, self.per_class if stop is None else stop))
        return self.spec.normalize(self.pixels[label * self.per_class + begin : label * self.per_class + end])

    def of_classes(self, labels: Sequence[int], first: int | None = None) -> Tensor:
        """Return the images of some classes in order, ``(N, C, H, W)``, or the ``first`` ones of each class."""
        return torch.cat([self.of_class(label, 0, first) for label in labels])

    def iter_chunks(self, labels: Sequence[int]) -> Iterator[Tensor]:
        """Yield the images of L classes in chunks ``(L * n, C, H, W)`` of at most `CHUNK_BYTES` bytes."""
        image = 4 * self.pixels[0].numel() * len(labels)
        step = even_chunk_size(self.per_class, max(1, CHUNK_BYTES // image))
        for start in range(0, self.per_class, step):
            yield torch.cat([self.of_class(label, start, start + step) for label in labels])
