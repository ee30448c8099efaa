"""A class-balanced batch of real images, in the type they are held in until they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_distill.functional.chunking import even_chunk_size
from lightning_distill.spec import DataSpec

#: Normalised real images that are held together where a class may be cut: 111 of 224 px, 21 of 512 px, all at 32 px.
CHUNK_BYTES = 2**26


class RealBatch:
    """As many real images of every class, in pixel units; normalised a few classes at a time.

    Of multi-label data, a combination of labels (`DataSpec.balance_groups`) is a class here.

    Args:
        pixels: ``(K * per_class, C, H, W)``, any dtype, ordered by class.
        spec: K, mean and std.

    Attributes:
        per_class: images of each class.
    """

    def __init__(self, pixels: Tensor, spec: DataSpec) -> None:
        self.pixels, self.spec = pixels, spec
        self.per_class = len(pixels) // len(spec.balance_groups)

    def of_class(self, label: int, start: int = 0, stop: int | None = None) -> Tensor:
        """The images of one class, ``(per_class, C, H, W)``, or some of them, normalised float32."""
        begin, end = (min(i, self.per_class) for i in (start, self.per_class if stop is None else stop))
        return self.spec.normalize(self.pixels[label * self.per_class + begin : label * self.per_class + end])

    def of_classes(self, labels: Sequence[int], first: int | None = None) -> Tensor:
        """The images of some classes one after the other, or the ``first`` few of each: ``(N, C, H, W)``."""
        return torch.cat([self.of_class(label, 0, first) for label in labels])

    def iter_chunks(self, labels: Sequence[int]) -> Iterator[Tensor]:
        """`of_classes`, as many images of each at a time as `CHUNK_BYTES` bytes hold: ``(L * n, C, H, W)``."""
        image = 4 * self.pixels[0].numel() * len(labels)
        step = even_chunk_size(self.per_class, max(1, CHUNK_BYTES // image))
        for start in range(0, self.per_class, step):
            yield torch.cat([self.of_class(label, start, start + step) for label in labels])
