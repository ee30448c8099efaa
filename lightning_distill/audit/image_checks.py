"""Find constant images and images with burnt-in text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from lightning_distill.audit.findings import Finding, ImageCountCallback, Place, plural
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.splits import Split

#: Number of pixels per chunk: 64 MiB as float32.
CHUNK_BYTES = 1 << 24
#: Smallest height and width for text detection. At 64 px, 28 % of the suspects in BreastMNIST were correct.
READABLE = 96
#: Smallest excess of stroke density of a suspect. At 128 px, 39 of 61 suspects in BreastMNIST contain text.
SUSPECT = 0.2
#: Contrast of a stroke to its surroundings, as a fraction of the intensity range.
CONTRAST = 0.31


def chunks(images: Array) -> Iterator[tuple[int, Array]]:
    """Yield chunks of images ``(N, C, H, W)`` in memory, with the row of their first image."""
    step = max(1, CHUNK_BYTES // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), step):
        yield start, np.asarray(images[start : start + step])


def find_constant(splits: dict[str, Split], on_progress: ImageCountCallback = lambda images: None) -> list[Place]:
    """Return the images in which every channel is constant.

    Args:
        splits: Images and labels by split.
        on_progress: Function that is called with the number of processed images.
    """
    constant = []
    for split, (images, _) in splits.items():
        for start, part in chunks(images):
            flat = (part.max((2, 3)) == part.min((2, 3))).all(1)
            constant += [Place(split, start + int(row)) for row in np.flatnonzero(flat)]
            on_progress(len(part))
    return constant


def report_constant(constant: list[Place]) -> Finding:
    """Report constant images, which warn."""
    count = len(constant)
    text = f"{plural(count)} with one value only; re-export or remove them" if count else "none"
    return Finding("constant images", "warns" if count else "ok", count, text, tuple(constant))


def find_text(splits: dict[str, Split], on_progress: ImageCountCallback = lambda images: None) -> list[Place] | None:
    r"""Return images that may contain burnt-in text, by decreasing score, or None if the images are too small.

    A stroke pixel exceeds the 3x3 morphological opening of the image by `CONTRAST` times the intensity range of
    train: :math:`s = [g - (g \ominus B) \oplus B \geq c]`, where g is the mean of the channels. Text has a high
    stroke density in a low, wide window (.04 x .16 of the image) and a low density around it (.16 x .5), unlike
    echoes and ribs. An image is suspect if

    .. math:: \max_{window} (\bar s_{.04 \times .16} - \bar s_{.16 \times .5}) \geq .2

    This heuristic does not read text. It misses dark letters, single characters and strokes wider than 2 pixels, and
    reports caliper crosses and short bright echoes. Of the 780 images of BreastMNIST (reassembled, 128 px) it reports
    61, of which 39 contain readable text.

    Args:
        splits: Images and labels by split.
        on_progress: Function that is called with the number of processed images.
    """
    train = splits["train"][0]
    if min(train.shape[2:]) < READABLE:
        return None
    low, high = np.inf, -np.inf
    for _, part in chunks(train):
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    suspects = []
    for split, (images, _) in splits.items():
        for start, part in chunks(images):
            excess = edge_density(part.mean(1, dtype=np.float32), CONTRAST * (high - low))
            suspects += [
                Place(split, start + int(row), value=float(excess[row])) for row in np.flatnonzero(excess >= SUSPECT)
            ]
            on_progress(len(part))
    return sorted(suspects, key=lambda place: -(place.value or 0))


def edge_density(grey: NDArray[np.float32], contrast: float) -> NDArray[np.float32]:
    """Return the largest excess of stroke density in a text window over its surroundings ``(N,)``.

    Args:
        grey: Images ``(N, H, W)``.
        contrast: Smallest contrast of a stroke, in pixel units.
    """
    height, width = grey.shape[1:]
    opened = maximum_filter(minimum_filter(grey, (1, 3, 3)), (1, 3, 3))
    strokes = (grey - opened >= max(contrast, 1e-12)).astype(np.float32)

    def density(high: float, wide: float) -> NDArray[np.float32]:
        window = (0, max(3, round(height * high)), max(5, round(width * wide)))
        return np.asarray(uniform_filter(strokes, window, mode="constant"), np.float32)

    return np.asarray((density(0.04, 0.16) - density(0.16, 0.5)).max((1, 2)), np.float32)


def report_text(suspects: list[Place] | None, splits: dict[str, Split]) -> Finding:
    """Report images that may contain text, which warn: text may identify a patient or reveal the class."""
    check = "writing in the image (suspicion)"
    if suspects is None:
        height, width = splits["train"][0].shape[2:]
        return Finding(check, "unknown", 0, f"{height}x{width} pixels are too few; the check needs {READABLE}")
    count = len(suspects)
    text = f"{plural(count)} may contain burnt-in text; inspect them, highest score first" if count else "none"
    return Finding(check, "warns" if count else "ok", count, text, tuple(suspects))
