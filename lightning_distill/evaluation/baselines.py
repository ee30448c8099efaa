"""What a set is held against: the same number of real images, and all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.sets.coresets import Features, select
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.lazy_images import LazyImages
from lightning_distill.spec import DataSpec
from lightning_distill.utils.lazy_arrays import is_lazy
from lightning_distill.utils.rng import derive_seed

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]


def coreset_sampler(
    method: str, real: Arrays, counts: Sequence[int], spec: DataSpec, seed: int, features: Features | None = None
) -> Callable[[int], LabeledSet]:
    """Real images by a coreset method; random subsets are drawn anew for every student, so their spread is included.

    Args:
        method: see `coresets.METHODS`.
        real: training images ``(N, C, H, W)`` in pixel units and labels ``(N,)``.
        counts: images of each class; `coresets.counts_for_ratio` has them in the natural ratio of the classes.
        spec: of the data.
        seed: of the draws.
        features: ``(N, F)`` of the real images to measure distances on, such as `embedding.embed_features`; ``None``
            takes normalised pixels.
    """
    images, labels = real

    def draw(student: int) -> LabeledSet:
        draw_seed = derive_seed(method, seed, student if method == "random" else 0) % 2**31
        rows = select(method, images, labels, counts, spec, draw_seed, features)
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows]))
        return LabeledSet(pixels, torch.from_numpy(labels[rows]), spec)

    return draw


def full_data(real: Arrays, spec: DataSpec) -> Callable[[int], LabeledSet]:
    """All real training images, in their natural class ratio; of multi-label data with 0/1 targets ``(N, L)``.

    Images that are on disk stay there (`stored.LazyImages`).
    """
    images, labels = real
    pixels = LazyImages(images) if is_lazy(images) else torch.from_numpy(np.ascontiguousarray(images))
    data = LabeledSet(cast(torch.Tensor, pixels), torch.from_numpy(labels), spec)
    return lambda student: data


def class_weighted_full_data(real: Arrays, spec: DataSpec) -> Callable[[int], LabeledSet]:
    r"""All real training images, each counting :math:`N / (K n_c)` in the loss, n of them being of its class c.

    As cross-entropy is linear in its targets, the weights are put into them. Of multi-label data, whose labels do not
    exclude each other, this is `full_data`.
    """
    whole = full_data(real, spec)(0)
    if spec.multi_label:
        return lambda student: whole
    counts = torch.bincount(whole.labels, minlength=spec.num_classes)
    weights = len(whole.labels) / (spec.num_classes * counts.clamp(min=1))  # (K,), their mean over images is 1
    data = replace(whole, soft_labels=torch.nn.functional.one_hot(whole.labels, spec.num_classes) * weights)
    return lambda student: data


def class_balanced_full_data(real: Arrays, spec: DataSpec, seed: int) -> Callable[[int], LabeledSet]:
    """As many images of every class as the rarest has, drawn anew for every student.

    Classes are cut down, not repeated: every image counts once, as it does in `full_data`.
    """
    return coreset_sampler("random", real, balanced_counts(real[1], spec), spec, seed)


def balanced_counts(labels: NDArray[np.int64], spec: DataSpec) -> list[int]:
    """The images of each class in `everything_balanced`: those of the rarest class."""
    counts = np.bincount(labels, minlength=len(spec.balance_groups))
    return [int(counts.min())] * len(counts)
