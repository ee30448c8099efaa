"""Image similarity that is robust to brightness, contrast, noise and compression."""

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
#: Number of principal components, and of images that they are fitted on.
COMPONENTS, SAMPLE = 64, 10_000
#: Number of images resized per chunk, and of image pairs compared per chunk.
CHUNK_IMAGES, PAIRS = 1024, 1 << 22


class ImageSimilarity:
    r"""Cosine similarity of partly whitened thumbnails: 1 for identical images, near 0 for unrelated images.

    An image is averaged to 14x14 pixels, centred per channel and scaled to unit length, which removes brightness and
    contrast: :math:`x`. Its features are the first 64 principal components of training images, each divided by the
    root of its standard deviation: :math:`f_k = v_k \cdot (x - \bar x) / \sqrt{\sigma_k}`. Structures that all images
    share, such as a dark disc on bright skin, then count less than individual ones. The similarity of two images is
    the cosine of their features.

    Measurements for the threshold .95:

    - Chance matches on DermaMNIST (10,015 images with lesion numbers): the nearest neighbour from another lesion
      reaches .95 for .04 % of the images; with features of a random ConvNet of width 32 for .08 %, with plain
      correlation of the thumbnails for .62 %. Another photograph of the same lesion reaches it for 4.4 %, 3.7 % and
      4.6 %: the measure finds copies, not patients.
    - BreastMNIST: 94 pairs across splits reach .95 and 3 more reach .88; the inspected pairs are frames of one
      recording, some with marks.
    - Hit rates for 300 images each of DermaMNIST and BreastMNIST: 100 and 100 % with added noise, 95 and 100 % after
      JPEG at quality 50, 87 and 100 % brightened by a sixth with clipping, 86 and 20 % enlarged by 8 %.
    - Hit rates with the transforms of `transforms` undone: 100 % mirrored or rotated (96 and 100 % also saved as JPEG
      at quality 50), 100 % shifted by 1 to 3 of 28 pixels (63 and 99 % also as JPEG), 88 and 66 % shifted by a third
      of a pixel more, 37 and 15 % by half a pixel more. Chance matches over all transforms: 0 of 2,000.

    Args:
        train: Training images ``(N, C, H, W)`` that the components are fitted on.
        straight: View of the images that becomes the thumbnail: `transforms.identity` or a window.
        seed: Seed of the random choice of `SAMPLE` training images, if there are more.
    """

    def __init__(self, train: Array, straight: TransformedView = identity, seed: int = 0) -> None:
        rows = np.arange(len(train))
        if len(rows) > SAMPLE:
            rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
        parts = [train[rows[start : start + CHUNK_IMAGES]] for start in range(0, len(rows), CHUNK_IMAGES)]
        thumbnails = np.concatenate([flat_unit_vectors(straight(small(part))) for part in parts])
        self._straight = straight
        count = max(1, min(COMPONENTS, len(thumbnails) - 1, thumbnails.shape[1]))
        self._pca = PCA(count, svd_solver="full").fit(thumbnails)
        variance = self._pca.explained_variance_
        self._scale = np.maximum(variance, max(float(variance.max(initial=0)) * 1e-6, 1e-12)) ** -0.25

    def features(self, images: Array) -> Iterator[Features]:
        """Yield features ``(n, 64)`` of untransformed images ``(N, C, H, W)`` by chunk."""
        for _, part in chunks(images):
            yield self.transform(small(part), self._straight)

    def transform(self, images: Tensor, view: TransformedView) -> Features:
        """Return unit-length features ``(n, 64)`` of a view of reduced images ``(n, C, H, W)``."""
        features = self._pca.transform(flat_unit_vectors(view(images))) * self._scale
        length = np.linalg.norm(features, axis=1, keepdims=True)
        return np.asarray(features / np.maximum(length, 1e-12), np.float32)


def nearest(
    pool: Features, queries: Features, pool_groups: Rows | None = None, query_groups: Rows | None = None
) -> tuple[NDArray[np.int64], Features]:
    """Return the most similar row of the pool for each query and its similarity, both ``(n,)``.

    Args:
        pool: Unit-length features ``(N, F)``.
        queries: Unit-length features ``(n, F)``.
        pool_groups: Patient of each row of the pool ``(N,)``; rows of the query's own patient are then excluded.
        query_groups: Patient of each query ``(n,)``.
    """
    rows, values = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float32)
    step = max(1, PAIRS // len(pool))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        cosines = queries[part] @ pool.T  # (step, N)
        if pool_groups is not None and query_groups is not None:
            cosines[query_groups[part, None] == pool_groups] = -1
        rows[part] = cosines.argmax(1)
        values[part] = np.take_along_axis(cosines, rows[part, None], 1)[:, 0]
    return rows, values


def small(images: Array) -> Tensor:
    """Convert images ``(n, C, H, W)`` of any dtype to float32 with at most 28 pixels per side."""
    return reduced(torch.from_numpy(np.ascontiguousarray(images)).float())


def flat_unit_vectors(small: Tensor) -> Features:
    """Flatten thumbnails to centred unit vectors ``(n, C * h * w)``; constant images become zeros."""
    x = (small - small.mean((2, 3), keepdim=True)).flatten(1)
    return np.asarray((x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)).numpy(), np.float32)
