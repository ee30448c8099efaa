"""What a set is held against: the same number of real images, and all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.coresets import select
from lightning_distill.evaluation.student import TrainingSet
from lightning_distill.isolation import derive_seed
from lightning_distill.spec import DataSpec

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]


def chosen(method: str, real: Arrays, counts: Sequence[int], spec: DataSpec, seed: int) -> Callable[[int], TrainingSet]:
    """Real images by a coreset method; random subsets are drawn anew for every student, so their spread is included.

    Args:
        method: see `coresets.METHODS`.
        real: training images ``(N, C, H, W)`` in pixel units and labels ``(N,)``.
        counts: images of each class.
        spec: of the data.
        seed: of the draws.
    """
    images, labels = real

    def draw(student: int) -> TrainingSet:
        draw_seed = derive_seed(method, seed, student if method == "random" else 0) % 2**31
        rows = select(method, images, labels, counts, spec, draw_seed)
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows]))
        return TrainingSet(pixels, torch.from_numpy(labels[rows]), spec)

    return draw


def everything(real: Arrays, spec: DataSpec) -> Callable[[int], TrainingSet]:
    """All real training images, in their natural class ratio."""
    data = TrainingSet(torch.from_numpy(np.ascontiguousarray(real[0])), torch.from_numpy(real[1]), spec)
    return lambda student: data
