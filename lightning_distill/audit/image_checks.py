"""What is wrong with an image by itself: nothing on it, or writing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from lightning_distill.audit.findings import Finding, Place, ProgressCallback, plural
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.splits import Split

#: Numbers of an image array that are held as float32 at once: 64 MiB of them.
CHUNK_BYTES = 1 << 24
#: Below this height or width, letters are a smear: the heuristic was right for 28 % of BreastMNIST's suspects at 64 px.
READABLE = 96
#: From this excess of strokes on, an image is suspected. At 128 px, 39 of the 61 suspects of BreastMNIST have writing.
SUSPECT = 0.2
#: A stroke rises this share of the data's range above what is wider than itself.
CONTRAST = 0.31


def chunks(images: Array) -> Iterator[tuple[int, Array]]:
    """Parts of images ``(N, C, H, W)`` with the row each begins at; no more of them in memory than is good."""
    step = max(1, CHUNK_BYTES // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), step):
        yield start, np.asarray(images[start : start + step])


def find_constant(splits: dict[str, Split], tick: ProgressCallback = lambda images: None) -> list[Place]:
    """Images whose every channel has one value only."""
    found = []
    for split, (images, _) in splits.items():
        for start, part in chunks(images):
            flat = (part.max((2, 3)) == part.min((2, 3))).all(1)
            found += [Place(split, start + int(row)) for row in np.flatnonzero(flat)]
            tick(len(part))
    return found


def report_constant(constant: list[Place]) -> Finding:
    """An image without anything on it is worth a look."""
    count = len(constant)
    found = f"{plural(count)} of one value only: export them again, or leave them out" if count else "none"
    return Finding("images with nothing on them", "warns" if count else "ok", count, found, tuple(constant))


def find_text(splits: dict[str, Split], tick: ProgressCallback = lambda images: None) -> list[Place] | None:
    r"""Images that may have letters burnt into them, the most suspect first; ``None`` where they are too small to tell.

    A stroke is a pixel that rises above the 3x3 opening of its image by `CONTRAST` of the range of train:
    :math:`s = [g - (g \ominus B) \oplus B \geq c]`, of the mean g of the channels. Letters are strokes that crowd in a
    low, wide window (.04 x .16 of the image) and not around it (.16 x .5), as echoes and ribs do: suspect is

    .. math:: \max_{window} (\bar s_{.04 \times .16} - \bar s_{.16 \times .5}) \geq .2

    This is a suspicion, no reading. It misses dark letters, single characters and all that is wider than 2 pixels; it
    takes crosses of calipers and short bright echoes for letters. Of BreastMNIST's 780 images (reassembled, 128 px) it
    suspects 61, of which 39 have letters that can be read; more of them have some.

    Args:
        splits: images and labels.
        tick: called with the number of images looked at.
    """
    train = splits["train"][0]
    if min(train.shape[2:]) < READABLE:
        return None
    low, high = np.inf, -np.inf
    for _, part in chunks(train):
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    found = []
    for split, (images, _) in splits.items():
        for start, part in chunks(images):
            excess = edge_density(part.mean(1, dtype=np.float32), CONTRAST * (high - low))
            found += [
                Place(split, start + int(row), value=float(excess[row])) for row in np.flatnonzero(excess >= SUSPECT)
            ]
            tick(len(part))
    return sorted(found, key=lambda place: -(place.value or 0))


def edge_density(grey: NDArray[np.float32], contrast: float) -> NDArray[np.float32]:
    """How much denser strokes are in a window of letters than around it, at most, ``(N,)``, of images ``(N, H, W)``."""
    height, width = grey.shape[1:]
    opened = maximum_filter(minimum_filter(grey, (1, 3, 3)), (1, 3, 3))
    strokes = (grey - opened >= max(contrast, 1e-12)).astype(np.float32)

    def density(high: float, wide: float) -> NDArray[np.float32]:
        window = (0, max(3, round(height * high)), max(5, round(width * wide)))
        return np.asarray(uniform_filter(strokes, window, mode="constant"), np.float32)

    return np.asarray((density(0.04, 0.16) - density(0.16, 0.5)).max((1, 2)), np.float32)


def report_text(suspects: list[Place] | None, splits: dict[str, Split]) -> Finding:
    """Letters may name a patient, or tell the class: a suspicion that somebody should look at."""
    check = "writing in the image (suspicion)"
    if suspects is None:
        height, width = splits["train"][0].shape[2:]
        return Finding(check, "unknown", 0, f"{height}x{width} pixels are too few to tell; {READABLE} are needed")
    count = len(suspects)
    found = f"{plural(count)} may have letters burnt in: look at them, the most suspect first" if count else "none"
    return Finding(check, "warns" if count else "ok", count, found, tuple(suspects))
