"""Choosing real images: the baselines every distilled set must beat, and good places to start one from.

Each method takes one class, ``(n, F)`` features, and returns the rows it picks. Features are looked at a part at a
time, so that those of images on disk (`Pixels`) need not be in memory together.
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
#: Where distances are measured: on normalised pixels, or on the features of a network trained on the data.
Space = Literal["pixels", "embedding"]
Ratio = Literal["balanced", "natural"]
#: Numbers of a class's features that are held at once, 64 MiB of them; for k-means, four times as many.
CHUNK_ELEMENTS = 1 << 24


class Pixels:
    """The normalised pixels of some images as features ``(n, F)``, float32, read when they are looked at.

    Args:
        images: ``(N, C, H, W)`` in pixel units; on disk if you like.
        rows: ``(n,)`` of the images.
        spec: shape, mean and std of the data.
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


def _map_chunks(features: Features | Pixels, measure: Callable[[Features], Features]) -> Features:
    """One number for each row, ``(n,)``, measured part by part."""
    return np.concatenate([measure(part) for part in _iter_chunks(features)])


def _iter_chunks(features: Features | Pixels) -> Iterator[Features]:
    step = max(1, CHUNK_ELEMENTS // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        yield features[start : start + step]


def _mean(features: Features | Pixels) -> Features:
    """Of all rows, ``(F,)`` float32."""
    total = np.sum([part.sum(0) for part in _iter_chunks(features)], axis=0, dtype=np.float64)
    return np.asarray(total / len(features), np.float32)


def random_rows(features: Features | Pixels, count: int, seed: int) -> Rows:
    """``count`` rows without replacement."""
    return np.random.default_rng(seed).choice(len(features), count, replace=False)


def herding_rows(features: Features | Pixels, count: int, seed: int) -> Rows:
    """Greedy: the next row is the one that brings the mean of the picks closest to the mean of the class.

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
    """How far the mean of the picks would be from that of the class with each row as the next pick."""
    return np.asarray(np.square(mean - (total + part) / step).sum(1))


def kcenter_rows(features: Features | Pixels, count: int, seed: int) -> Rows:
    """Greedy k-center: start next to the mean, then always take the row farthest from all picks.

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


def kmeans_rows(features: Features | Pixels, count: int, seed: int) -> Rows:
    """The row nearest to each of ``count`` k-means centres (scikit-learn), each row at most once.

    Centres are those of all rows of a class; of `Pixels` that are too many to be held, of a random sample.
    """
    from sklearn.cluster import KMeans

    held: Features | Pixels = features
    if isinstance(features, Pixels):
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


METHODS: dict[str, Callable[[Features | Pixels, int, int], Rows]] = {
    "random": random_rows,
    "herding": herding_rows,
    "kcenter": kcenter_rows,
    "kmeans": kmeans_rows,
}


def check_method(method: str) -> None:
    """Raise a ValueError that offers the closest names unless ``method`` is one of `METHODS`."""
    if method not in METHODS:
        close = difflib.get_close_matches(method, METHODS, n=1)
        hint = f"; the closest is {close[0]}" if close else ""
        raise ValueError(f"unknown selection {method!r}; use one of {', '.join(METHODS)}{hint}")


def check_labels(labels: NDArray[np.int64]) -> None:
    """Raise a ValueError unless every image has one label ``(N,)``: images are chosen class by class."""
    if labels.ndim != 1:
        raise ValueError(f"labels of the shape {labels.shape}; images are chosen class by class: give one label each")


def counts_for_ratio(labels: NDArray[np.int64], total: int, ratio: Ratio) -> list[int]:
    r"""How many images of each class make ``total``, in equal parts or in the ratio of the data.

    Largest remainder: class c has the share :math:`q_c = T n_c / \sum n` (or ``T / K``), gets its whole part, and what
    is left goes one by one to the largest fractions, the first class first where they are equal. A class that would
    get nothing gets one image, and the others share the rest by the same rule.

    Args:
        labels: ``(N,)`` of all real images.
        total: T, images wanted of all classes.
        ratio: ``balanced`` or ``natural``.

    Returns:
        One count for each class, at least one; their sum is ``total``.

    Raises:
        ValueError: fewer images than classes, a class without images, labels of several classes at once.

    Reference:
        Balinski, Young: Fair Representation, Yale University Press 1982 (Hamilton's method, with minimum requirements).
    """
    check_labels(labels)
    if ratio not in get_args(Ratio):
        raise ValueError(f"unknown ratio {ratio!r}; use one of {', '.join(get_args(Ratio))}")
    there = np.bincount(labels)
    if not there.all():
        raise ValueError(f"no images of the class number {int(there.argmin())}; give every class an image")
    if total < len(there):
        raise ValueError(f"{total} images in all for {len(there)} classes; every class needs at least 1")
    weights = [int(n) for n in there] if ratio == "natural" else [1] * len(there)
    counts = [1] * len(weights)
    sharing = list(range(len(weights)))
    while sharing:
        left, whole = total - (len(weights) - len(sharing)), sum(weights[c] for c in sharing)
        # whole numbers throughout: a fraction compared in floats may fall to either side
        parts = {c: divmod(left * weights[c], whole) for c in sharing}
        spare = left - sum(part for part, _ in parts.values())
        lucky = sorted(sharing, key=lambda c: -parts[c][1])[:spare]  # a stable sort: the first class first
        given = {c: parts[c][0] + (c in lucky) for c in sharing}
        if all(given.values()):
            counts = [given.get(c, 1) for c in range(len(weights))]
            break
        sharing = [c for c in sharing if given[c]]
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
    """Pick ``counts[c]`` images of every class c, by distance between features; ordered by class.

    A class with fewer images than asked gives each of them as often as it fits (``on_small_class="repeat"``).

    Args:
        method: ``random``, ``herding``, ``kcenter`` or ``kmeans``.
        images: ``(N, C, H, W)`` in pixel units.
        labels: ``(N,)``.
        counts: images wanted of each class.
        spec: mean and std of the data.
        seed: of the random choices.
        features: ``(N, F)`` float32 of the same images, such as a trained network's; ``None`` takes normalised pixels.

    Returns:
        Row numbers into ``images``, ``(sum(counts),)``.

    Raises:
        ValueError: unknown method, another number of features than labels, labels of several classes at once.
    """
    check_method(method)
    check_labels(labels)
    if features is not None and len(features) != len(labels):
        raise ValueError(f"{len(features)} rows of features for {len(labels)} images; give one row an image")
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        whole, rest = divmod(count, len(members))
        picks = [np.tile(members, whole)]
        if rest:
            # a random choice looks at no image
            nothing = np.empty((len(members), 0), np.float32)
            of = _features_of(images, members, spec, features) if method != "random" else nothing
            picks.append(members[METHODS[method](of, rest, seed + label)])
        chosen.append(np.concatenate(picks))
    return np.concatenate(chosen)


def _features_of(
    images: NDArray[np.generic], members: Rows, spec: DataSpec, features: Features | None
) -> Features | Pixels:
    """Of the images of a class; normalised pixels are made once where they are few."""
    if features is not None:
        return np.asarray(features[members], np.float32)
    pixels = Pixels(images, members, spec)
    return pixels[:] if pixels.shape[0] * pixels.shape[1] <= CHUNK_ELEMENTS else pixels
