"""Pictures of a set over the steps of a run: a strip with a column for each step, and an animation."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightning_distill.sets.image_grid import GAP, label_rows, tile_size
from lightning_distill.spec import DataSpec

#: Largest number of columns of a strip, and of frames of an animation.
MOST_COLUMNS, MOST_FRAMES = 10, 50
#: Milliseconds that a frame of an animation, and its last one, are shown.
FRAME_MS, LAST_FRAME_MS = 400, 2000
Picture = NDArray[np.uint8]


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the numbers below ``count``, the first and the last among them.

    Args:
        count: Number of pictures.
        most: Largest number of pictures that are taken.

    Example:
        >>> evenly_spaced(3, 10), evenly_spaced(100, 4)
        ([0, 1, 2], [0, 33, 66, 99])
    """
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, most)).tolist()})


def strip(pictures: Sequence[Picture], steps: Sequence[int], spec: DataSpec, columns: int) -> Picture:
    """Draw the first image of each class at each step: a row for each class, a column for each step.

    Args:
        pictures: Grids of one run, see `image_grid`, all of one size.
        steps: Number of the step of each grid.
        spec: Size of an image, and names of the rows.
        columns: Number of images in a row of the grids.

    Returns:
        Picture ``(H, W, 3)`` uint8 with at most `MOST_COLUMNS` steps.
    """
    chosen = evenly_spaced(len(pictures), MOST_COLUMNS)
    first = [_first_column(pictures[number], columns, spec) for number in chosen]
    edge = np.full((first[0].shape[0], GAP, 3), 255, np.uint8)
    grid = np.concatenate([part for image in first for part in (edge, image)] + [edge], 1)
    return label_rows(grid, spec.balance_groups, [f"step {steps[number]:,}" for number in chosen])


def animation(pictures: Sequence[Picture], steps: Sequence[int]) -> bytes:
    """Return grids of one run as an endless animated GIF, with the step above each.

    Args:
        pictures: Grids ``(H, W, 3)`` uint8 of one size.
        steps: Number of the step of each grid.
    """
    chosen = evenly_spaced(len(pictures), MOST_FRAMES)
    frames = [Image.fromarray(label_rows(pictures[number], [""], [f"step {steps[number]:,}"])) for number in chosen]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[*[FRAME_MS] * (len(frames) - 1), LAST_FRAME_MS],
        loop=0,
    )
    return buffer.getvalue()


def _first_column(picture: Picture, columns: int, spec: DataSpec) -> Picture:
    """Cut the first image of each row out of a grid."""
    _, width = tile_size(spec)
    left = picture.shape[1] - columns * (width + GAP)
    return picture[:, left : left + width]
