r"""Score of a patch as a trigger: nearly the same in all images of a class, and in no other class.

For a square patch of a class, :math:`w` is the 90th percentile over the images of the class of the root mean square
difference from the median patch of the class, :math:`o` the 10th percentile of that difference over
the images of all other classes, and :math:`e` the 10th percentile, over the images of the class, of the contrast across
that side of the patch that has the least. The score is :math:`\min(o, e) / (w + 2/255)`. The edge tells a patch from a
background that is constant in one class only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: Sides of scanned patches in pixels.
SIZES = (2, 3, 4, 5, 6, 8, 10, 12)
#: Difference that counts as none: two of 255 levels.
FLOOR = 2 / 255
#: Share of images that may differ from the rest.
EXCEPTIONS = 0.1


@dataclass(frozen=True)
class Patch:
    """A patch and its score.

    Args:
        score: Score of the patch.
        size: Side in pixels.
        row: Row of its upper left pixel.
        column: Column of its upper left pixel.
    """

    score: float
    size: int
    row: int
    column: int


def best_patch(pixels: Tensor, own: Tensor, sizes: tuple[int, ...] = SIZES, *, whole: bool = True) -> Patch:
    """Return the patch with the highest score of a class.

    Args:
        pixels: Images ``(M, C, H, W)`` float32 of all classes, from 0 to 1.
        own: Mask ``(M,)`` of the images of the class; both values occur at least twice.
        sizes: Sides of the patches.
        whole: Whether the images are whole; sides above a third of them are then left out.
    """
    squares = (pixels - pixels[own].median(0).values).square().mean(1, keepdim=True)  # (M, 1, H, W)
    vertical, horizontal = (pixels[own].diff(dim=dim).abs().mean(1, keepdim=True) for dim in (2, 3))
    best = Patch(0.0, 0, 0, 0)
    for size in sizes:
        if whole and size > max(2, min(pixels.shape[2:]) // 3):
            break
        differences = F.avg_pool2d(squares, size, 1).sqrt()[:, 0]  # (M, h, w)
        within = _upper(differences[own])
        other = _lower(differences[~own])
        edge = _lower(_least_side(vertical, horizontal, size, differences.shape[1:]))
        scores = torch.minimum(other, edge) / (within + FLOOR)
        score, position = scores.flatten().max(0)
        if float(score) > best.score:
            row, column = divmod(int(position), scores.shape[1])
            best = Patch(float(score), size, row, column)
    return best


def _least_side(vertical: Tensor, horizontal: Tensor, size: int, shape: torch.Size) -> Tensor:
    """Return the least contrast ``(n, h, w)`` across a side of each patch; sides at the border do not count.

    Args:
        vertical: Absolute differences ``(n, 1, H - 1, W)`` of neighbouring rows.
        horizontal: Absolute differences ``(n, 1, H, W - 1)`` of neighbouring columns.
        size: Side of the patch.
        shape: Numbers ``(h, w)`` of positions.
    """
    (height, width), count = shape, len(vertical)
    rows = F.avg_pool2d(vertical, (1, size), 1)[:, 0]  # (n, H - 1, w)
    columns = F.avg_pool2d(horizontal, (size, 1), 1)[:, 0]  # (n, h, W - 1)
    least = vertical.new_full((count, height, width), torch.inf)
    least[:, 1:] = rows[:, : height - 1]
    least[:, :-1] = torch.minimum(least[:, :-1], rows[:, size - 1 : size + height - 2])
    least[:, :, 1:] = torch.minimum(least[:, :, 1:], columns[:, :, : width - 1])
    least[:, :, :-1] = torch.minimum(least[:, :, :-1], columns[:, :, size - 1 : size + width - 2])
    return least


def _upper(values: Tensor) -> Tensor:
    """Return the largest of each position's values ``(n, h, w)`` without the exceptions."""
    return _smallest(values, len(values) - int(EXCEPTIONS * len(values)) - 1)


def _lower(values: Tensor) -> Tensor:
    """Return the smallest of each position's values ``(n, h, w)`` without the exceptions."""
    return _smallest(values, int(EXCEPTIONS * len(values)))


def _smallest(values: Tensor, rank: int) -> Tensor:
    """Return the value of a rank, counted from 0, of each position's values ``(n, h, w)``."""
    flat = np.ascontiguousarray(values.flatten(1).T.numpy())  # numpy is four times as fast as kthvalue on a CPU
    return torch.from_numpy(np.partition(flat, rank, axis=1)[:, rank].copy()).view(values.shape[1:])
