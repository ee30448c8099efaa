"""Multi-scale structural similarity (MS-SSIM) of pairs of images of one class: high where images look alike."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from lightning_distill.evaluation.fidelity.metric import Column, Comparison, FidelityMetric, Rows, Sample
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed

#: Largest number of pairs of a class.
PAIRS = 100
#: Weights of the scales, from full size down; fewer scales take the first ones, divided by their sum.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: Width of the window in pixels and standard deviation of its Gaussian: of the reference, and for smaller images.
LARGE_WINDOW, SMALL_WINDOW = (11, 1.5), (5, 0.68)


def scales_and_window(side: int) -> tuple[int, int, float]:
    """Return the number of scales, the width of the window and its standard deviation for a side in pixels.

    Five scales and 11 pixels are the reference; smaller images take 5 pixels and the scales that fit.

    Args:
        side: Shorter side of the images.

    Returns:
        Number of scales, 0 for images below 5 pixels; width and standard deviation of the window.

    Example:
        >>> [scales_and_window(side)[:2] for side in (4, 8, 28, 64, 128, 224)]
        [(0, 5), (1, 5), (3, 5), (4, 5), (5, 5), (5, 11)]
    """
    for most, (window, sigma) in ((len(WEIGHTS), LARGE_WINDOW), (1, SMALL_WINDOW)):
        for scales in range(len(WEIGHTS), most - 1, -1):
            # torchmetrics asks for the first; at the smallest scale, the window must lie within the image
            if side // max(1, scales - 1) ** 2 > window - 1 and side >> (scales - 1) >= window:
                return scales, window, sigma
    return 0, *SMALL_WINDOW


def pairs_within_classes(classes: Rows, seed: int) -> dict[int, Rows]:
    """Return pairs of different images ``(P, 2)`` of each class with at least two: all, or 100 random ones.

    Args:
        classes: Class of each image ``(N,)``.
        seed: Seed of the pairs.
    """
    random, pairs = np.random.default_rng(seed), {}
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        if len(rows) * (len(rows) - 1) // 2 <= PAIRS:
            chosen = np.array(list(combinations(rows, 2)), np.int64).reshape(-1, 2)
        else:
            chosen = np.stack([random.choice(rows, 2, replace=False) for _ in range(PAIRS)])
        if len(chosen):
            pairs[int(name)] = chosen
    return pairs


def class_similarity(sample: Sample, spec: DataSpec, seed: int = 0) -> float:
    """Return the mean MS-SSIM over the pairs of a class, averaged over the classes with at least two images.

    Args:
        sample: Images.
        spec: Pixel range.
        seed: Seed of the pairs.

    Reference:
        Odena et al.: Conditional Image Synthesis with Auxiliary Classifier GANs, arXiv 1610.09585.
    """
    values = [
        pair_similarity(sample, rows, spec).mean() for rows in pairs_within_classes(sample.classes, seed).values()
    ]
    return float(np.mean(values))


def pair_similarity(sample: Sample, rows: Rows, spec: DataSpec) -> NDArray[np.float64]:
    """Return the MS-SSIM ``(P,)`` of pairs of images, clipped to the pixel range.

    Args:
        sample: Images.
        rows: Pairs of row numbers ``(P, 2)``.
        spec: Pixel range.
    """
    scales, window, sigma = scales_and_window(min(spec.shape[1:]))
    low, span = spec.min_value, max(spec.max_value - spec.min_value, 1e-8)
    first, second = (
        ((sample.pixels[torch.from_numpy(column)].double() - low) / span).clamp(0, 1)
        for column in rows.T  # a column for each image of the pairs
    )
    weights = tuple(weight / sum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales])
    values = multiscale_structural_similarity_index_measure(
        first,
        second,
        kernel_size=window,
        sigma=sigma,
        data_range=1.0,
        betas=weights,
        normalize="relu",
        reduction="none",
    )
    return np.asarray(values.numpy(), np.float64)


def _compute(sample: Sample, comparison: Comparison) -> dict[str, float]:
    value = class_similarity(sample, comparison.spec, derive_seed("ms_ssim", comparison.seed))
    return {"ms_ssim": value, "ms_ssim_scales": scales_and_window(min(comparison.spec.shape[1:]))[0]}


def _unresolvable(sample: Sample, comparison: Comparison) -> str:
    side = min(comparison.spec.shape[1:])
    if not scales_and_window(side)[0]:
        return f"images of {side} px, it needs {SMALL_WINDOW[0]}"
    return "" if np.bincount(sample.classes).max() > 1 else "no class has two images, it needs pairs within a class"


MS_SSIM = FidelityMetric(
    "ms_ssim",
    (Column("ms_ssim", "MS-SSIM"), Column("ms_ssim_scales", "", 0, beside_real=False)),
    _compute,
    _unresolvable,
    uses_features=False,
)
