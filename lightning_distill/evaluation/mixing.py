"""Real images with a set beside them: how much of each a student learns from, and what the set adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.evaluation.baselines import Arrays, coreset_sampler
from lightning_distill.evaluation.metrics.intervals import Estimate, student_interval
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.protocol import Protocol
from lightning_distill.sets.coresets import Ratio, counts_for_ratio
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.merge import merge_sets
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed


def num_synthetic(real: int, ratio: float) -> int:
    """How many images of the set stand beside ``real`` real ones: ``ratio * real``, rounded; at least 1 above 0.

    Raises:
        ValueError: a ratio that is negative or not a number.
    """
    if not 0 <= ratio < float("inf"):
        raise ValueError(f"ratio={ratio}; it is images of the set for each real image, 0 or more")
    return max(1, round(ratio * real)) if ratio else 0


def balanced_rows(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """``count`` rows of a set: the whole set as often as it fits, and a random class-balanced part of it.

    The part goes round the classes in random order and takes a random image of each, until it is full: classes differ
    by one image at most, as long as they have enough.

    Args:
        labels: ``(N,)`` of the set.
        count: rows wanted; fewer or more than N.
        seed: of the part.
    """
    random = np.random.default_rng(seed)
    whole, rest = divmod(count, len(labels))
    turn = random.permutation(int(labels.max()) + 1)[labels]  # when a class has its turn
    lap = np.empty(len(labels), np.int64)  # in which lap an image is taken
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        lap[members] = random.permutation(len(members))
    return np.concatenate([np.tile(np.arange(len(labels)), whole), np.lexsort((turn, lap))[:rest]])


def real_counts(labels: NDArray[np.int64], real: int, class_ratio: Ratio, spec: DataSpec) -> list[int]:
    """How many of ``real`` images in all are of each class.

    Raises:
        ValueError: fewer than one a class, or a class that has not as many; the message says how many there are.
    """
    if real > len(labels):
        raise ValueError(f"real={real}; {spec.name} has {len(labels)} training images")
    counts = counts_for_ratio(labels, real, class_ratio)
    there = np.bincount(labels, minlength=len(spec.balance_groups))
    for name, wanted, found in zip(spec.balance_groups, counts, there, strict=True):
        if wanted > found:
            raise ValueError(
                f"real={real}: {wanted} images of class {name!r} are needed, which has {found}; take fewer real images "
                "or class_ratio='natural'"
            )
    return counts


def mix_real_and_synthetic(
    real: Arrays, counts: Sequence[int], set: LabeledSet, ratio: float, spec: DataSpec, seed: int
) -> Callable[[int], LabeledSet]:
    """Random real images, drawn anew for every student, and as many of the set as the ratio says.

    Student i has the same real images at every ratio, so that ratios can be compared student by student. All images
    are normalised by the real data's mean and std, and a learned rate of the set is left aside: it was learned for the
    set alone.

    Args:
        real: training images ``(N, C, H, W)`` in pixel units and labels ``(N,)``.
        counts: real images of each class.
        set: fits the data, see `adapt.fit_to`; its probabilities count where it has learned them.
        ratio: images of the set for each real one, see `images_of_set`.
        spec: of the real data.
        seed: of the draws.
    """
    draw, wanted = coreset_sampler("random", real, counts, spec, seed), num_synthetic(sum(counts), ratio)

    def mix(student: int) -> LabeledSet:
        own = draw(student)
        if not wanted:
            return own
        rows = torch.from_numpy(balanced_rows(set.labels.numpy(), wanted, derive_seed("mix", seed, student)))
        soft = None if set.soft_labels is None else set.soft_labels[rows]
        return merge_sets([own, LabeledSet(set.pixels[rows], set.labels[rows], spec, soft)])

    return mix


def same_steps(protocol: Protocol, real: int, images: int) -> Protocol:
    """The protocol with as many epochs on ``images`` images as make the steps that it takes on ``real`` ones.

    ``E' + 1 = (E + 1) * ceil(real / B) / ceil(images / B)``, rounded, at least 2 epochs: else a gain of the larger
    mixture might be a gain of longer training.
    """
    steps = (protocol.epochs + 1) * -(-real // protocol.batch_size)
    return replace(protocol, epochs=max(1, round(steps / -(-images // protocol.batch_size)) - 1))


def paired_gain(with_set: Scores, without: Scores, metric: str = "acc") -> Estimate:
    """What the set has changed: the mean of the students' differences and its 95 % t-interval, as fractions.

    Paired: student i against student i, which has the same seed and the same real images.

    Raises:
        ValueError: fewer than two students, or not the same ones.
    """
    if with_set.seeds != without.seeds:
        raise ValueError(f"students of the seeds {with_set.seeds} and {without.seeds}; only equal ones can be paired")
    pairs = zip(with_set.values(metric), without.values(metric), strict=True)
    return student_interval([a - b for a, b in pairs])


def summarize(change: Estimate, real: int, set_images: int, ratio: float) -> str:
    """Does the set help? In plain words, in points."""
    verdict = "it helps" if change.low > 0 else "it harms" if change.high < 0 else "too close to tell"
    return (
        f"with {real} real images their {set_images}-image file changes accuracy by {100 * change.mean:+.1f} points at "
        f"ratio {ratio:g} (paired over {change.n} students, 95 % interval {100 * change.low:.1f} to "
        f"{100 * change.high:.1f}): {verdict}"
    )
