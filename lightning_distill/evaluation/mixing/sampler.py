"""Random real images mixed with images of a synthetic set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.evaluation.baselines import Arrays, coreset_sampler
from lightning_distill.sets.coresets import Ratio, counts_for_ratio
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.merge import merge_sets
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed


def num_synthetic(real: int, ratio: float) -> int:
    """Compute the number of synthetic images: ``ratio * real`` rounded, at least 1 for a positive ratio.

    Raises:
        ValueError: The ratio is negative or not finite.
    """
    if not 0 <= ratio < float("inf"):
        raise ValueError(f"ratio={ratio}; synthetic images per real image must be 0 or more")
    return max(1, round(ratio * real)) if ratio else 0


def balanced_rows(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Select ``count`` rows: whole repetitions of the set plus a random class-balanced part.

    The part takes one random image per class in turn, so class counts differ by at most one while images last.

    Args:
        labels: Labels ``(N,)`` of the set.
        count: Number of rows, below or above N.
        seed: Seed of the part.
    """
    random = np.random.default_rng(seed)
    whole, rest = divmod(count, len(labels))
    turn = random.permutation(int(labels.max()) + 1)[labels]  # position of the class in a round
    lap = np.empty(len(labels), np.int64)  # round in which an image is taken
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        lap[members] = random.permutation(len(members))
    return np.concatenate([np.tile(np.arange(len(labels)), whole), np.lexsort((turn, lap))[:rest]])


def real_counts(labels: NDArray[np.int64], real: int, class_ratio: Ratio, spec: DataSpec) -> list[int]:
    """Divide ``real`` images among the classes.

    Args:
        labels: Labels ``(N,)`` of the real training images.
        real: Total number of real images.
        class_ratio: ``balanced`` or ``natural``.
        spec: Specification of the data.

    Raises:
        ValueError: There are fewer images than classes, or a class has too few images.
    """
    if real > len(labels):
        raise ValueError(f"real={real}; {spec.name} has {len(labels)} training images")
    counts = counts_for_ratio(labels, real, class_ratio)
    available = np.bincount(labels, minlength=len(spec.balance_groups))
    for name, wanted, count in zip(spec.balance_groups, counts, available, strict=True):
        if wanted > count:
            raise ValueError(
                f"real={real}: {wanted} images of class {name!r} are needed, it has {count}; lower --real "
                "or set class_ratio='natural'"
            )
    return counts


def mix_real_and_synthetic(
    real: Arrays, counts: Sequence[int], synthetic_set: LabeledSet, ratio: float, spec: DataSpec, seed: int
) -> Callable[[int], LabeledSet]:
    """Return a sampler of random real images mixed with images of a set.

    Student i has the same real images at every ratio, so ratios can be compared student by student. All images are
    normalised by the mean and std of the real data. A learned learning rate of the set is ignored, because it was
    learned for the set alone.

    Args:
        real: Training images ``(N, C, H, W)`` in pixel units and labels ``(N,)``.
        counts: Number of real images per class.
        synthetic_set: Set that matches the data, see `adapt_set`. Learned soft labels are used.
        ratio: Synthetic images per real image, see `num_synthetic`.
        spec: Specification of the real data.
        seed: Seed of the selection.
    """
    sample, wanted = coreset_sampler("random", real, counts, spec, seed), num_synthetic(sum(counts), ratio)
    synthetic_set = synthetic_set.decode()

    def mix(student: int) -> LabeledSet:
        own = sample(student)
        if not wanted:
            return own
        rows = torch.from_numpy(balanced_rows(synthetic_set.labels.numpy(), wanted, derive_seed("mix", seed, student)))
        soft = None if synthetic_set.soft_labels is None else synthetic_set.soft_labels[rows]
        return merge_sets([own, LabeledSet(synthetic_set.pixels[rows], synthetic_set.labels[rows], spec, soft)])

    return mix
