"""Choosing real images: the baselines every distilled set must beat, and good places to start one from.

Each method takes one class, ``(n, F)`` features, and returns the rows it picks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_distill.spec import DataSpec

Rows = NDArray[np.int64]
Features = NDArray[np.float32]


def random_rows(features: Features, count: int, seed: int) -> Rows:
    """``count`` rows without replacement."""
    return np.random.default_rng(seed).choice(len(features), count, replace=False)


def herding_rows(features: Features, count: int, seed: int) -> Rows:
    """Greedy: the next row is the one that brings the mean of the picks closest to the mean of the class.

    Reference:
        Welling: Herding Dynamical Weights to Learn, ICML 2009; as used by Rebuffi et al., arXiv 1611.07725.
    """
    mean, total = features.mean(0), np.zeros(features.shape[1], np.float32)
    picked: list[int] = []
    for step in range(1, count + 1):
        distance = np.square(mean - (total + features) / step).sum(1)  # (n,)
        distance[picked] = np.inf
        picked.append(int(distance.argmin()))
        total = total + features[picked[-1]]
    return np.array(picked)


def kcenter_rows(features: Features, count: int, seed: int) -> Rows:
    """Greedy k-center: start next to the mean, then always take the row farthest from all picks.

    Reference:
        Sener, Savarese: Active Learning for CNNs, a Core-Set Approach, ICLR 2018, arXiv 1708.00489.
    """
    picked = [int(np.square(features - features.mean(0)).sum(1).argmin())]
    nearest = np.full(len(features), np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, np.square(features - features[picked[-1]]).sum(1))
        nearest[picked] = -1.0
        picked.append(int(nearest.argmax()))
    return np.array(picked)


def kmeans_rows(features: Features, count: int, seed: int) -> Rows:
    """The row nearest to each of ``count`` k-means centres (scikit-learn), each row at most once."""
    from sklearn.cluster import KMeans

    centres = KMeans(count, n_init=1, random_state=seed % 2**32).fit(features).cluster_centers_  # (count, F)
    picked: list[int] = []
    for centre in centres:
        distance = np.square(features - centre).sum(1)
        distance[picked] = np.inf
        picked.append(int(distance.argmin()))
    return np.array(picked)


METHODS: dict[str, Callable[[Features, int, int], Rows]] = {
    "random": random_rows,
    "herding": herding_rows,
    "kcenter": kcenter_rows,
    "kmeans": kmeans_rows,
}


def select(
    method: str,
    images: NDArray[np.generic],
    labels: NDArray[np.int64],
    counts: Sequence[int],
    spec: DataSpec,
    seed: int,
) -> Rows:
    """Pick ``counts[c]`` images of every class c, by pixel distance on normalised images; ordered by class.

    A class with fewer images than asked gives each of them as often as it fits (``on_small_class="repeat"``).

    Args:
        method: ``random``, ``herding``, ``kcenter`` or ``kmeans``.
        images: ``(N, C, H, W)`` in pixel units.
        labels: ``(N,)``.
        counts: images wanted of each class.
        spec: mean and std of the data.
        seed: of the random choices.

    Returns:
        Row numbers into ``images``, ``(sum(counts),)``.

    Raises:
        ValueError: unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown selection {method!r}; use one of {', '.join(METHODS)}")
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (spec.mean, spec.std))
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        whole, rest = divmod(count, len(members))
        picks = [np.tile(members, whole)]
        if rest:
            # random choice needs no features, so it never reads the class from disk
            flat = np.empty((len(members), 0), np.float32)
            if method != "random":
                flat = ((images[members].astype(np.float32) - mean) / std).reshape(len(members), -1)
            picks.append(members[METHODS[method](flat, rest, seed + label)])
        chosen.append(np.concatenate(picks))
    return np.concatenate(chosen)
