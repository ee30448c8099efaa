"""Baselines of a synthetic set: an equal number of real images, and all real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.sets.adapt import to_stored_dtype
from lightning_distill.sets.coresets import Features, select
from lightning_distill.sets.formation import encode
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.lazy_images import LazyImages
from lightning_distill.spec import DataSpec
from lightning_distill.utils.lazy_arrays import is_lazy
from lightning_distill.utils.rng import derive_seed

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]


def coreset_sampler(
    method: str,
    real: Arrays,
    counts: Sequence[int],
    spec: DataSpec,
    seed: int,
    features: Features | None = None,
    formation: int = 1,
) -> Callable[[int], LabeledSet]:
    """Return a sampler of coresets. Random subsets differ between students, so their spread is included.

    Args:
        method: Coreset method, one of `coresets.METHODS`.
        real: Training images ``(N, C, H, W)`` in pixel units and labels ``(N,)``.
        counts: Number of stored images per class; `coresets.counts_for_ratio` gives the natural ratio.
        spec: Specification of the data.
        seed: Seed of the selection.
        features: Features ``(N, F)`` of the real images for distances, such as `features.embed_features`. ``None``
            takes normalised pixels.
        formation: Number f of sub-images along each side of a stored image: f * f selected images are reduced to fit
            into one, see `formation.encode`.

    Returns:
        Function from the student number to its training set.
    """
    images, labels = real

    def sample(student: int) -> LabeledSet:
        sample_seed = derive_seed(method, seed, student if method == "random" else 0) % 2**31
        rows = select(method, images, labels, [n * formation**2 for n in counts], spec, sample_seed, features)
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows]))
        if formation > 1:
            pixels = to_stored_dtype(encode(pixels.float(), formation), spec)
        return LabeledSet(pixels, torch.from_numpy(labels[rows][:: formation**2]), spec, formation=formation)

    return sample


def full_data(real: Arrays, spec: DataSpec) -> Callable[[int], LabeledSet]:
    """Return a sampler of all real training images; multi-label data have 0/1 targets ``(N, L)``.

    Images on disk stay there (`LazyImages`).
    """
    images, labels = real
    pixels = LazyImages(images) if is_lazy(images) else torch.from_numpy(np.ascontiguousarray(images))
    data = LabeledSet(cast(torch.Tensor, pixels), torch.from_numpy(labels), spec)
    return lambda student: data


def class_weighted_full_data(real: Arrays, spec: DataSpec) -> Callable[[int], LabeledSet]:
    r"""Return a sampler of all real images with loss weights :math:`N / (K n_c)` for the :math:`n_c` images of class c.

    Cross-entropy is linear in its targets, so the weights scale the targets. For multi-label data it equals
    `full_data`.
    """
    whole = full_data(real, spec)(0)
    if spec.multi_label:
        return lambda student: whole
    counts = torch.bincount(whole.labels, minlength=spec.num_classes)
    weights = len(whole.labels) / (spec.num_classes * counts.clamp(min=1))  # (K,), their mean over images is 1
    data = replace(whole, soft_labels=torch.nn.functional.one_hot(whole.labels, spec.num_classes) * weights)
    return lambda student: data


def class_balanced_full_data(real: Arrays, spec: DataSpec, seed: int) -> Callable[[int], LabeledSet]:
    """Return a sampler that undersamples every class to the size of the rarest, differently for each student."""
    return coreset_sampler("random", real, balanced_counts(real[1], spec), spec, seed)


def balanced_counts(labels: NDArray[np.int64], spec: DataSpec) -> list[int]:
    """Return the size of the rarest class for every class, as used by `class_balanced_full_data`."""
    counts = np.bincount(labels, minlength=len(spec.balance_groups))
    return [int(counts.min())] * len(counts)
