"""Resemblance of images to their nearest training images: correlation and structural similarity (SSIM)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lightning_distill.audit.image_checks import chunks
from lightning_distill.audit.similarity import flat_unit_vectors, nearest
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.sets.formation import decode, encode
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec

#: Number of validation images whose resemblance to training images is the reference for that of the set.
REFERENCE_IMAGES = 256
#: Radius in pixels and standard deviation of the Gaussian window of SSIM in the reference.
RADIUS, SIGMA = 5, 1.5


@dataclass(frozen=True)
class Resemblance:
    """Resemblance of M images to their nearest training images.

    Args:
        rows: Row of the training image with the highest correlation, ``(M,)``.
        correlation: Correlation with it, ``(M,)``: 1 for equal images up to brightness and contrast.
        ssim: Structural similarity to it, ``(M,)``: 1 for equal images; NaN for a side of one pixel.
    """

    rows: NDArray[np.int64]
    correlation: NDArray[np.float64]
    ssim: NDArray[np.float64]

    def to_dict(self) -> dict[str, object]:
        """Return median and maximum of both as plain data for a card; NaN becomes ``None``."""
        values = {"correlation": self.correlation, "ssim": self.ssim}
        return {
            "images": len(self.rows),
            **{name: {"median": _plain(np.median(of)), "max": _plain(np.max(of))} for name, of in values.items()},
        }


def resemblance(pixels: Tensor, train: Array, spec: DataSpec) -> Resemblance:
    """Search the training image with the highest correlation for each image, and measure SSIM to it.

    The correlation is that of all pixels, after the mean of each channel is subtracted. Brightness and contrast are
    thereby left out, unlike in a search by distance. SSIM is the mean over all pixels and channels, with the
    Gaussian window of the reference, 11 pixels wide (smaller for images below 6 pixels) and mirrored at the borders.

    Args:
        pixels: Images ``(M, C, H, W)`` in pixel units.
        train: Training images ``(N, C, H, W)`` in pixel units, in memory or on disk; read in chunks.
        spec: Pixel range of the data.

    Raises:
        ValueError: The shapes differ.

    Reference:
        Wang et al.: Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE TIP 13, 2004.
    """
    if tuple(pixels.shape[1:]) != tuple(train.shape[1:]):
        raise ValueError(f"the images are {tuple(pixels.shape[1:])}, the training images {train.shape[1:]} (C, H, W)")
    queries = flat_unit_vectors(pixels.float())
    rows, best = np.zeros(len(queries), np.int64), np.full(len(queries), -np.inf)
    for start, part in chunks(train):
        found, values = nearest(flat_unit_vectors(torch.from_numpy(part).float()), queries)
        nearer = values > best
        rows[nearer], best[nearer] = found[nearer] + start, values[nearer]
    found_images = torch.from_numpy(np.ascontiguousarray(train[rows]))
    return Resemblance(rows, best.clip(-1, 1), structural_similarity(pixels.float(), found_images.float(), spec))


def measure_resemblance(datamodule: ArrayDataModule, exported: LabeledSet, start: LabeledSet) -> dict[str, object]:
    """Measure how near a set, its start and held-out images are to their nearest training images.

    Sub-images are decoded. Held-out images are then reduced and enlarged in the same way.

    Args:
        datamodule: Data of the run.
        exported: Set as it was written.
        start: Initial set.

    Returns:
        Plain data for a card, see `Resemblance.to_dict`.
    """
    spec, (train, _), (val, _) = datamodule.spec, datamodule.all_train_arrays(), datamodule.splits["val"]
    cells = exported.formation**2
    count = min(REFERENCE_IMAGES, len(val)) // cells * cells
    held_out = torch.from_numpy(np.array(val[np.linspace(0, len(val) - 1, count).astype(np.int64)])).float()
    pools = {
        "set": exported.decode().pixels,
        "start": start.decode().pixels,
        "held_out": decode(encode(held_out, exported.formation), exported.formation),
    }
    return {
        "to": "the training image with the highest correlation",
        **{name: resemblance(pixels, train, spec).to_dict() for name, pixels in pools.items() if len(pixels)},
    }


def structural_similarity(a: Tensor, b: Tensor, spec: DataSpec) -> NDArray[np.float64]:
    """SSIM ``(M,)`` of pairs of images in pixel units, clipped to the valid range."""
    radius = min(RADIUS, min(a.shape[2:]) - 1)
    if radius < 1:
        return np.full(len(a), np.nan)
    low, high = spec.min_value, spec.max_value
    first, second = (((x.clamp(low, high) - low) / max(high - low, 1e-8)).double() for x in (a, b))
    sigma = SIGMA if radius == RADIUS else radius / 3.5  # torchmetrics: the radius is int(3.5 sigma + 0.5)
    result = structural_similarity_index_measure(
        first, second, sigma=sigma, reduction="none", data_range=1.0, return_full_image=True
    )
    assert isinstance(result, tuple)
    return np.asarray(result[1].mean((1, 2, 3)).numpy(), np.float64)


def _plain(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
