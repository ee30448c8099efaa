"""Class-balanced, uniform and sequential batch loaders. Batch k depends on (seed, k) only, so runs resume exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.data.checks.arrays import Array
from lightning_distill.utils.lazy_arrays import LazyArray


class NumberedBatches(ABC):
    """Loader whose batch k depends on (seed, k) only; checkpoints keep the number of the next batch.

    Args:
        images: Images ``(N, C, H, W)``.
        steps: Number of batches in one iteration (one epoch of Lightning). The batch counter continues over epochs.
        seed: Seed of all batches.
    """

    def __init__(self, images: Array, *, steps: int, seed: int) -> None:
        self.images, self.steps, self.seed, self.next = images, steps, seed, 0

    @abstractmethod
    def batch(self, k: int) -> tuple[Tensor, Tensor]:
        """Read batch number ``k``, counted from 0 over all epochs: images in their dtype, and labels."""

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            k, self.next = self.next, self.next + 1  # incremented before yield: a checkpoint stores the next batch
            yield self.batch(k)
            if self.next % self.steps == 0:
                return

    def state_dict(self) -> dict[str, int]:
        """State for checkpoints: the number of the next batch."""
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue with the batch number stored by `state_dict`."""
        self.next = state["next"]


class ClassBalancedLoader(NumberedBatches):
    """Batches of ``per_class`` images of every class, ordered by class, drawn without replacement.

    A class with fewer than ``per_class`` images is taken whole as many times as it fits, and the remainder is drawn, so
    that all batches have one static shape. Only the drawn images are read and nothing is permuted: the time of a batch
    does not depend on the size of the data, which may be memory-mapped.

    Args:
        images: Images ``(N, C, H, W)``, returned in their dtype.
        labels: Class numbers ``(N,)`` from 0 to ``num_classes - 1``; each class must have an image.
        num_classes: Number of classes K.
        per_class: Number of images of each class in a batch.
        steps: Number of batches in one iteration (one epoch of Lightning). The batch counter continues over epochs.
        seed: Seed of all batches.

    Example:
        >>> images, labels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), np.array([0, 1, 0, 1])
        >>> loader = ClassBalancedLoader(images, labels, num_classes=2, per_class=2, steps=3, seed=0)
        >>> x, y = loader.batch(0)
        >>> sorted(x.flatten().tolist()[:2]), y.tolist(), len(loader)
        ([0, 2], [0, 0, 1, 1], 3)
    """

    def __init__(
        self, images: Array, labels: NDArray[np.int64], *, num_classes: int, per_class: int, steps: int, seed: int
    ) -> None:
        super().__init__(images, steps=steps, seed=seed)
        order = np.argsort(labels, kind="stable")
        self.members = np.split(order, np.cumsum(np.bincount(labels, minlength=num_classes))[:-1])
        self.per_class = per_class
        self._labels = torch.arange(num_classes).repeat_interleave(per_class)

    def batch(self, k: int) -> tuple[Tensor, Tensor]:
        """Read batch number ``k``.

        Args:
            k: Number of the batch, counted from 0 over all epochs.

        Returns:
            Images ``(K * per_class, C, H, W)`` in their dtype, and labels ``(K * per_class,)`` int64.
        """
        return torch.from_numpy(np.ascontiguousarray(self.images[np.concatenate(self.rows(k))])), self._labels

    def rows(self, k: int) -> list[NDArray[np.int64]]:
        """Return the row numbers ``(per_class,)`` of each class in a batch.

        Args:
            k: Number of the batch.
        """
        return [self._sample(k, label, members) for label, members in enumerate(self.members)]

    def _sample(self, k: int, label: int, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers ``(per_class,)`` of one class in batch k."""
        repeats, remainder = divmod(self.per_class, len(members))
        random = np.random.default_rng([self.seed, k, label])
        picks = random.choice(len(members), remainder, replace=False, shuffle=False)
        return np.concatenate([np.tile(members, repeats), members[picks]])


class UniformLoader(NumberedBatches):
    """Batches drawn uniformly from all training images, without replacement within a batch.

    Classes are as frequent as in the data. Batch k depends on (seed, k) only.

    Args:
        images: Images ``(N, C, H, W)``, returned in their dtype.
        labels: Labels ``(N,)``, or 0/1 targets ``(N, L)``.
        batch_size: Number of images in a batch; at most N are drawn.
        steps: Number of batches in one iteration (one epoch of Lightning).
        seed: Seed of all batches.

    Example:
        >>> images, labels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), np.array([0, 0, 0, 1])
        >>> loader = UniformLoader(images, labels, batch_size=4, steps=3, seed=0)
        >>> x, y = loader.batch(0)
        >>> sorted(x.flatten().tolist()), sorted(y.tolist()), len(loader)
        ([0, 1, 2, 3], [0, 0, 0, 1], 3)
    """

    def __init__(self, images: Array, labels: NDArray[np.int64], *, batch_size: int, steps: int, seed: int) -> None:
        super().__init__(images, steps=steps, seed=seed)
        self.targets, self.batch_size = labels, min(batch_size, len(labels))

    def batch(self, k: int) -> tuple[Tensor, Tensor]:
        """Read batch number ``k``.

        Args:
            k: Number of the batch, counted from 0 over all epochs.

        Returns:
            Images ``(B, C, H, W)`` in their dtype, and their labels ``(B,)`` or targets ``(B, L)``.
        """
        random = np.random.default_rng([self.seed, k])
        rows = np.sort(random.choice(len(self.targets), self.batch_size, replace=False, shuffle=False))
        return torch.from_numpy(np.ascontiguousarray(self.images[rows])), torch.from_numpy(self.targets[rows])


class SequentialLoader:
    """Batches of all images, each once and in order, for validation and test. Every DDP rank reads all of them.

    Args:
        images: Images ``(N, C, H, W)``, returned in their dtype.
        labels: Labels ``(N,)``, or 0/1 targets ``(N, L)``.
        batch_size: Number of images in a batch; the last batch may be smaller.

    Example:
        >>> images, labels = np.zeros((5, 1, 8, 8), np.uint8), np.arange(5)
        >>> [y.tolist() for _, y in SequentialLoader(images, labels, batch_size=2)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, images: Array, labels: NDArray[np.int64], batch_size: int) -> None:
        self.images, self.labels, self.batch_size = images, labels, batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.images), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield torch.from_numpy(self._copy(rows)), torch.from_numpy(self.labels[rows].copy())

    def _copy(self, rows: slice) -> Array:
        """Contiguous, writable copy of some images."""
        images = self.images[rows]
        return images if isinstance(self.images, LazyArray) else np.array(images, order="C")  # lazy rows are copies
