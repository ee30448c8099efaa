"""How alike two images are, whatever their brightness, contrast, noise and compression."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from lightning_distill.audit.image_checks import chunks
from lightning_distill.audit.transforms import TransformedView, identity, reduced
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import Rows

Features = NDArray[np.float32]
#: Components kept, and images they are found on.
COMPONENTS, SAMPLE = 64, 10_000
#: Images that are made small at once, and pairs of images that are compared at once.
CHUNK_IMAGES, PAIRS = 1024, 1 << 22


class ImageSimilarity:
    r"""Cosine of partly whitened, small images: 1 is the same picture, near 0 two pictures that have nothing to do.

    An image is brought to 14x14 pixels, loses the mean of each channel and is scaled to length one, so that brightness
    and contrast do not count: :math:`x`. The first 64 principal components of training images, each divided by the
    root of its standard deviation, are its features: :math:`f_k = v_k \cdot (x - \bar x) / \sqrt{\sigma_k}`. What all
    images of a kind have in common, such as a dark disc on bright skin, then counts less than what only this one has.
    The likeness of two images is the cosine of their features.

    Why this and not a network, and why .95: on DermaMNIST (10,015 images, lesions known) the nearest neighbour of
    another lesion is as like as .95 for .04 % of the images, by the features of a random ConvNet of width 32 for .08 %,
    by plain correlation of the same small images for .62 %. Another photograph of the same lesion is as like for 4.4 %,
    3.7 % and 4.6 % of the images that have one: this finds copies, not patients. On BreastMNIST 94 pairs across splits
    are as like, 3 more lie between .88 and .95; those that were looked at are frames of one recording, some with marks.
    Of 300 images each of Derma- and BreastMNIST it knows again at .95: 100 and 100 % with noise added, 95 and 100 %
    after JPEG at quality 50, 87 and 100 % made brighter by a sixth with some clipped, 86 and 20 % enlarged by 8 %.

    Mirrored, turned and shifted copies are looked for by undoing each move of `moves`: of the same images all are known
    again mirrored or turned (96 and 100 % mirrored and saved as JPEG at quality 50), and all shifted by whole pixels of
    28 up to 3; 63 and 99 % of the latter as JPEG; 88 and 66 % shifted by a third of a pixel beyond, 37 and 15 % by half
    a pixel. Chance, a nearest image of another lesion of DermaMNIST over all moves, stays at 0 of 2,000.

    Args:
        train: images ``(N, C, H, W)`` that the components are found on.
        straight: how they are seen, `moves.whole` or a window: what becomes the small picture.
        seed: of the choice of `SAMPLE` of them, where there are more.
    """

    def __init__(self, train: Array, straight: TransformedView = identity, seed: int = 0) -> None:
        rows = np.arange(len(train))
        if len(rows) > SAMPLE:
            rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
        parts = [train[rows[start : start + CHUNK_IMAGES]] for start in range(0, len(rows), CHUNK_IMAGES)]
        seen = np.concatenate([_flat(straight(small(part))) for part in parts])
        self._straight = straight
        count = max(1, min(COMPONENTS, len(seen) - 1, seen.shape[1]))
        self._pca = PCA(count, svd_solver="full").fit(seen)
        variance = self._pca.explained_variance_
        self._scale = np.maximum(variance, max(float(variance.max(initial=0)) * 1e-6, 1e-12)) ** -0.25

    def features(self, images: Array) -> Iterator[Features]:
        """Features ``(n, 64)`` of images ``(N, C, H, W)`` as they lie, part by part."""
        for _, part in chunks(images):
            yield self.num_components(small(part), self._straight)

    def num_components(self, images: Tensor, look: TransformedView) -> Features:
        """Features ``(n, 64)`` of length one, of what a look sees of reduced images ``(n, C, H, W)``."""
        features = self._pca.transform(_flat(look(images))) * self._scale
        length = np.linalg.norm(features, axis=1, keepdims=True)
        return np.asarray(features / np.maximum(length, 1e-12), np.float32)


def nearest(
    pool: Features, queries: Features, of: Rows | None = None, not_of: Rows | None = None
) -> tuple[NDArray[np.int64], Features]:
    """The row of the pool that is most like each query, and how like, both ``(n,)``.

    Args:
        pool: features ``(N, F)`` of length one.
        queries: features ``(n, F)`` of length one.
        of: ``(N,)``, the patient of each row of the pool; no row of the query's own is then taken.
        not_of: ``(n,)``, the patient of each query.
    """
    rows, values = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float32)
    step = max(1, PAIRS // len(pool))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        cosines = queries[part] @ pool.T  # (step, N)
        if of is not None and not_of is not None:
            cosines[not_of[part, None] == of] = -1
        rows[part] = cosines.argmax(1)
        values[part] = np.take_along_axis(cosines, rows[part, None], 1)[:, 0]
    return rows, values


def small(images: Array) -> Tensor:
    """Images ``(n, C, H, W)`` of any type as float32 of at most 28 pixels a side."""
    return reduced(torch.from_numpy(np.ascontiguousarray(images)).float())


def _flat(small: Tensor) -> Features:
    """Small pictures as ``(n, C * h * w)`` without the mean of each channel, of length one; zeros of constant ones."""
    x = (small - small.mean((2, 3), keepdim=True)).flatten(1)
    return np.asarray((x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)).numpy(), np.float32)
