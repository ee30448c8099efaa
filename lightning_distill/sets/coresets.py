"""Coreset selection: baselines for distilled sets and initial images of a distillation.

Each method takes the features ``(n, F)`` of one class and returns the selected rows. Features are processed in chunks,
so images on disk (`PixelFeatures`) are never in memory together.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_distill.spec import DataSpec

Rows = NDArray[np.int64]
Features = NDArray[np.float32]
#: Feature space of the distances: normalised pixels, or the embedding of a network trained on the data.
Space = Literal["pixels", "embedding"]
Ratio = Literal["balanced", "natural"]
#: Feature values of one class held at a time (64 MiB in float32). K-means holds four times this number.
CHUNK_ELEMENTS = 1 << 24


class PixelFeatures:
    """Normalised pixels of selected images as features ``(n, F)`` float32, read on access.

    Args:
        images: Images ``(N, C, H, W)`` in pixel units, in memory or on disk.
        rows: Indices ``(n,)`` of the selected images.
        spec: Shape, mean and std of the data.
    """

    def __init__(self, images: NDArray[np.generic], rows: Rows, spec: DataSpec) -> None:
        self.images, self.rows = images, rows
        self.shape = len(rows), int(np.prod(spec.shape))
        self._mean, self._std = (np.asarray(v, np.float32)[:, None, None] for v in (spec.mean, spec.std))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice | Rows | int) -> Features:
        pixels = self.images[self.rows[part]].astype(np.float32)
        pixels = np.divide(np.subtract(pixels, self._mean, out=pixels), self._std, out=pixels)
        return np.asarray(pixels.reshape(*pixels.shape[:-3], self.shape[1]))


def _map_chunks(features: Features | PixelFeatures, measure: Callable[[Features], Features]) -> Features:
    """Apply a function chunk by chunk and concatenate its values ``(n,)``."""
    return np.concatenate([measure(part) for part in _iter_chunks(features)])


def _iter_chunks(features: Features | PixelFeatures) -> Iterator[Features]:
    step = max(1, CHUNK_ELEMENTS // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        yield features[start : start + step]


def _mean(features: Features | PixelFeatures) -> Features:
    """Mean of all rows, ``(F,)`` float32."""
    total = np.sum([part.sum(0) for part in _iter_chunks(features)], axis=0, dtype=np.float64)
    return np.asarray(total / len(features), np.float32)


def random_rows(features: Features | PixelFeatures, count: int, seed: int) -> Rows:
    """Draw ``count`` rows uniformly without replacement."""
    return np.random.default_rng(seed).choice(len(features), count, replace=False)


def herding_rows(features: Features | PixelFeatures, count: int, seed: int) -> Rows:
    """Select rows by herding: each next row brings the mean of the selection closest to the class mean.

    Reference:
        Welling: Herding Dynamical Weights to Learn, ICML 2009; as used by Rebuffi et al., arXiv 1611.07725.
    """
    mean, total = _mean(features), np.zeros(features.shape[1], np.float32)
    picked: list[int] = []
    for step in range(1, count + 1):
        distance = _map_chunks(features, partial(_herding_order, mean, total, step))  # (n,)
        distance[picked] = np.inf
        picked.append(int(distance.argmin()))
        total = total + features[picked[-1]]
    return np.array(picked)


def _herding_order(mean: Features, total: Features, step: int, part: Features) -> Features:
    """Squared distance between the class mean and the mean of the selection plus each candidate row."""
    return np.asarray(np.square(mean - (total + part) / step).sum(1))


def kcenter_rows(features: Features | PixelFeatures, count: int, seed: int) -> Rows:
    """Select rows by greedy k-center: start nearest to the mean, then add the row farthest from the selection.

    Reference:
        Sener, Savarese: Active Learning for CNNs, a Core-Set Approach, ICLR 2018, arXiv 1708.00489.
    """
    picked = [int(_map_chunks(features, partial(_distances, _mean(features))).argmin())]
    nearest = np.full(len(features), np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, _map_chunks(features, partial(_distances, features[picked[-1]])))
        nearest[picked] = -1.0
        picked.append(int(nearest.argmax()))
    return np.array(picked)


def _distances(centre: Features, part: Features) -> Features:
    """Squared distance of each row from a centre."""
    return np.asarray(np.square(part - centre).sum(1))


def kmeans_rows(features: Features | PixelFeatures, count: int, seed: int) -> Rows:
    """Select the row nearest to each of ``count`` k-means centres (scikit-learn), each row at most once.

    Centres are fitted on all rows of a class, or on a random sample if `PixelFeatures` exceed the memory limit.
    """
    from sklearn.cluster import KMeans

    held: Features | PixelFeatures = features
    if isinstance(features, PixelFeatures):
        most = max(count, 4 * CHUNK_ELEMENTS // max(1, features.shape[1]))
        whole = np.arange(len(features))
        held = features[whole if len(whole) <= most else np.random.default_rng(seed).choice(whole, most, replace=False)]
    centres = KMeans(count, n_init=1, random_state=seed % 2**32).fit(held).cluster_centers_  # (count, F)
    picked: list[int] = []
    for centre in centres:
        distance = _map_chunks(features, partial(_distances, centre))
        distance[picked] = np.inf
        picked.append(int(distance.argmin()))
    return np.array(picked)


METHODS: dict[str, Callable[[Features | PixelFeatures, int, int], Rows]] = {
    "random": random_rows,
    "herding": herding_rows,
    "kcenter": kcenter_rows,
    "kmeans": kmeans_rows,
}


def check_method(method: str) -> None:
    """Raise ValueError with the closest name if ``method`` is not in `METHODS`."""
    if method not in METHODS:
        close = difflib.get_close_matches(method, METHODS, n=1)
        hint = f"; the closest is {close[0]}" if close else ""
        raise ValueError(f"unknown coreset method {method!r}; use one of {', '.join(METHODS)}{hint}")


def check_labels(labels: NDArray[np.int64]) -> None:
    """Raise ValueError if labels are not of shape ``(N,)``."""
    if labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape}; coreset selection needs one label per image, (N,)")


def counts_for_ratio(labels: NDArray[np.int64], total: int, ratio: Ratio) -> list[int]:
    r"""Divide ``total`` images among the classes, equally or in proportion to the data.

    Largest remainder method: class c has the quota :math:`q_c = T n_c / \sum n` (or ``T / K``) and receives its integer
    part; the remaining images go to the largest fractions, lower class indices first. A class that would receive no
    image receives one, and the rest is divided among the other classes by the same rule.

    Args:
        labels: Labels ``(N,)`` of all real images.
        total: Total number of images T.
        ratio: ``balanced`` (equal counts) or ``natural`` (proportional to the data).

    Returns:
        One count per class, at least one. The counts sum to ``total``.

    Raises:
        ValueError: ``total`` is below the number of classes, a class has no images, or labels are not ``(N,)``.

    Reference:
        Balinski, Young: Fair Representation, Yale University Press 1982 (Hamilton's method, with minimum requirements).
    """
    check_labels(labels)
    if ratio not in get_args(Ratio):
        raise ValueError(f"unknown ratio {ratio!r}; use one of {', '.join(get_args(Ratio))}")
    available = np.bincount(labels)
    if not available.all():
        raise ValueError(f"class {int(available.argmin())} has no images; every class needs at least 1")
    if total < len(available):
        raise ValueError(f"total={total} images for {len(available)} classes; every class needs at least 1")
    weights = [int(n) for n in available] if ratio == "natural" else [1] * len(available)
    counts = [1] * len(weights)
    classes = list(range(len(weights)))
    while classes:
        left, whole = total - (len(weights) - len(classes)), sum(weights[c] for c in classes)
        # integers only: rounding of floats could decide ties
        quotas = {c: divmod(left * weights[c], whole) for c in classes}
        remaining = left - sum(part for part, _ in quotas.values())
        largest = sorted(classes, key=lambda c: -quotas[c][1])[:remaining]  # a stable sort: lower indices first
        assigned = {c: quotas[c][0] + (c in largest) for c in classes}
        if all(assigned.values()):
            counts = [assigned.get(c, 1) for c in range(len(weights))]
            break
        classes = [c for c in classes if assigned[c]]
    return counts


def select(
    method: str,
    images: NDArray[np.generic],
    labels: NDArray[np.int64],
    counts: Sequence[int],
    spec: DataSpec,
    seed: int,
    features: Features | None = None,
) -> Rows:
    """Select ``counts[c]`` images of every class c, ordered by class.

    A class with fewer images than requested repeats its images evenly (``on_small_class="repeat"``).

    Args:
        method: Coreset method: ``random``, ``herding``, ``kcenter`` or ``kmeans``.
        images: Real images ``(N, C, H, W)`` in pixel units.
        labels: Labels ``(N,)`` of the real images.
        counts: Number of images to select per class.
        spec: Shape, mean and std of the data.
        seed: Seed of random choices. Class c uses ``seed + c``.
        features: Features ``(N, F)`` float32 of the images, such as a network's embedding. ``None`` takes normalised
            pixels.

    Returns:
        Indices ``(sum(counts),)`` into ``images``.

    Raises:
        ValueError: The method is unknown, the number of features differs from the labels, or labels are not ``(N,)``.
    """
    check_method(method)
    check_labels(labels)
    if features is not None and len(features) != len(labels):
        raise ValueError(f"features has {len(features)} rows for {len(labels)} images; give one row per image")
    selected = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        whole, rest = divmod(count, len(members))
        picks = [np.tile(members, whole)]
        if rest:
            # the random method needs no features
            empty = np.empty((len(members), 0), np.float32)
            rows = _class_features(images, members, spec, features) if method != "random" else empty
            picks.append(members[METHODS[method](rows, rest, seed + label)])
        selected.append(np.concatenate(picks))
    return np.concatenate(selected)


def _class_features(
    images: NDArray[np.generic], members: Rows, spec: DataSpec, features: Features | None
) -> Features | PixelFeatures:
    """Features of one class; pixels below the memory limit are normalised once."""
    if features is not None:
        return np.asarray(features[members], np.float32)
    pixels = PixelFeatures(images, members, spec)
    return pixels[:] if pixels.shape[0] * pixels.shape[1] <= CHUNK_ELEMENTS else pixels
