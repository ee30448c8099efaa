"""Class-balanced batches of real images, each from (seed, k) alone, so that a resumed run draws what it would have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.data.checks.arrays import Array
from lightning_distill.utils.lazy_arrays import LazyArray


class ClassBalancedLoader:
    """Batch k holds ``per_class`` images of every class, ordered by class, drawn without replacement.

    A class with fewer images than ``per_class`` is taken whole as often as it fits and the rest is drawn, so that
    every batch has one static shape. Nothing is permuted and nothing but the drawn images is read: the time does not
    depend on the size of the data, which may be memory-mapped.

    Args:
        images: ``(N, C, H, W)``, left in their dtype.
        labels: ``(N,)``.
        num_classes: K; every class must have an image.
        per_class: images of each class in a batch.
        steps: batches in one pass, Lightning's epoch. Counting goes on over passes.
        seed: of all draws.
    """

    def __init__(
        self, images: Array, labels: NDArray[np.int64], num_classes: int, per_class: int, steps: int, seed: int
    ) -> None:
        self.images = images
        order = np.argsort(labels, kind="stable")
        self.members = np.split(order, np.cumsum(np.bincount(labels, minlength=num_classes))[:-1])
        self.per_class = per_class
        self.steps = steps
        self.seed = seed
        self.next = 0
        self._labels = torch.arange(num_classes).repeat_interleave(per_class)

    def batch(self, k: int) -> tuple[Tensor, Tensor]:
        """Batch k: images ``(K * per_class, C, H, W)`` in their own dtype, labels ``(K * per_class,)`` int64."""
        chosen = [self._draw(k, label, members) for label, members in enumerate(self.members)]
        return torch.from_numpy(np.ascontiguousarray(self.images[np.concatenate(chosen)])), self._labels

    def _draw(self, k: int, label: int, members: NDArray[np.int64]) -> NDArray[np.int64]:
        whole, rest = divmod(self.per_class, len(members))
        random = np.random.default_rng([self.seed, k, label])
        picks = random.choice(len(members), rest, replace=False, shuffle=False)
        return np.concatenate([np.tile(members, whole), members[picks]])

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            k, self.next = self.next, self.next + 1  # counted before it is given: a checkpoint then holds what comes
            yield self.batch(k)
            if self.next % self.steps == 0:
                return

    def state_dict(self) -> dict[str, int]:
        """The number of the next batch."""
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on with the batch of that number."""
        self.next = state["next"]


class SequentialLoader:
    """All images once, in order, in batches: what validation and test need. Every DDP rank sees all of them.

    Args:
        images: ``(N, C, H, W)``, left in their dtype.
        labels: ``(N,)`` or ``(N, L)``.
        batch_size: images in a batch; the last may be smaller.
    """

    def __init__(self, images: Array, labels: NDArray[np.int64], batch_size: int) -> None:
        self.images, self.labels, self.batch_size = images, labels, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield torch.from_numpy(self._copy(part)), torch.from_numpy(self.labels[part].copy())

    def _copy(self, part: slice) -> Array:
        """Contiguous memory that may be written to."""
        images = self.images[part]
        return images if isinstance(self.images, LazyArray) else np.array(images, order="C")  # read anew: ours already
