"""Gaussians of an image's scores with and without it in the data: the likelihood-ratio test behind LiRA."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Number of references on a side from which each image has a variance of its own.
OWN_VARIANCE_FROM = 64
#: Least standard deviation: a score that never varies is compared on the scale of rounding errors.
LEAST_STD = 1e-6


def gaussians(values: Floats, chosen: Flags) -> tuple[Floats, Floats]:
    """Return median and standard deviation of the chosen references of each image.

    With fewer than `OWN_VARIANCE_FROM` references all images share one variance: that of the deviations from their
    medians, pooled over images.

    Args:
        values: Scores ``(R, k)`` of k images under R references.
        chosen: References of each image that are used, ``(R, k)``; at least one for each image.
    """
    masked = np.where(chosen, values, np.nan)
    centre = np.nanmedian(masked, axis=0)
    squares = np.square(masked - centre)
    per_image = chosen.sum(0)
    if per_image.min() >= OWN_VARIANCE_FROM:
        std = np.sqrt(np.nansum(squares, axis=0) / (per_image - 1))
    else:
        std = np.full(values.shape[1], np.sqrt(np.nansum(squares) / max(1, int((per_image - 1).sum()))))
    return centre, np.maximum(std, LEAST_STD)


def log_density(values: Floats, centre: Floats, std: Floats) -> Floats:
    """Return the log-density of Gaussians, without the constant.

    Args:
        values: Values ``(k,)``.
        centre: Means ``(k,)``.
        std: Standard deviations ``(k,)``.
    """
    return np.asarray(-0.5 * np.square((values - centre) / std) - np.log(std), np.float64)
