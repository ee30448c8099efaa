"""Transforms of near-duplicates that the audit undoes: mirroring, rotation and shifts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

#: Function from reduced images ``(n, C, H, W)`` to thumbnails ``(n, C, h, w)``.
TransformedView = Callable[[Tensor], Tensor]
#: Side in pixels of reduced images, of the thumbnail of a whole image, and of the thumbnail of a central window.
REDUCED, WHOLE, MIDDLE = 28, 14, 11
#: Largest shift in each direction, in pixels of the reduced image.
REACH = 3
#: Slack of shifts: threshold .97 instead of .95. Of 2,000 training images of DermaMNIST, .4 % reach .95 with an image
#: of another lesion by one of 48 shifts, and none reaches .97.
SLACK = 0.6


@dataclass(frozen=True)
class TransformFamily:
    """Transforms that are searched together; the one with the highest similarity is reported.

    Args:
        straight: View of the images in the pool.
        views: Views that undo a transform, by the name of the transform (empty for none).
        slack: Factor on the distance of the threshold from 1; below 1 where many views raise the chance level.
    """

    straight: TransformedView
    views: dict[str, TransformedView]
    slack: float = 1.0

    def threshold_for(self, threshold: float) -> float:
        """Return the similarity threshold for transformed copies, given the threshold for untransformed ones."""
        return 1 - (1 - threshold) * self.slack


def reduced(images: Tensor) -> Tensor:
    """Average images ``(n, C, H, W)`` over areas to at most 28 pixels per side."""
    return _pool(images, REDUCED)


def families(height: int, width: int) -> list[TransformFamily]:
    """Return the transform families for images of a size: untransformed, mirrored and rotated, shifted.

    Quarter rotations need a square thumbnail, shifts a side of at least 10 pixels.

    Args:
        height: Height of the images in pixels.
        width: Width of the images in pixels.
    """
    square = min(WHOLE, height) == min(WHOLE, width)
    return [
        TransformFamily(identity, {"": identity}),
        TransformFamily(identity, rotations(square)),
        *shifts(height, width),
    ]


def rotations(square: bool = True) -> dict[str, TransformedView]:
    """Return the views that undo mirroring and rotation. Rotations are clockwise, after mirroring."""
    half: dict[str, TransformedView] = {
        "mirrored left-right": lambda x: identity(x).flip(3),
        "mirrored up-down": lambda x: identity(x).flip(2),
        "turned by 180": lambda x: identity(x).flip(2, 3),
    }
    quarter: dict[str, TransformedView] = {
        "turned by 90": lambda x: identity(x).rot90(1, (2, 3)),
        "turned by 270": lambda x: identity(x).rot90(3, (2, 3)),
        "mirrored left-right and turned by 90": lambda x: identity(x).rot90(1, (2, 3)).flip(3),
        "mirrored left-right and turned by 270": lambda x: identity(x).rot90(3, (2, 3)).flip(3),
    }
    return {**half, **quarter} if square else half


def shifts(height: int, width: int) -> list[TransformFamily]:
    """Return the family of shifts: the centre of one image is compared with windows of the other, without borders.

    Args:
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Returns:
        List of one family with all shifts of the reduced images by up to 3 of 28 pixels; an empty list if that is less
        than a pixel.
    """
    low, narrow = min(REDUCED, height), min(REDUCED, width)
    down, right = low * REACH // REDUCED, narrow * REACH // REDUCED
    views = {
        _name(round(y * height / low), round(x * width / narrow)): _window(down + y, right + x, down, right)
        for y in range(-down, down + 1)
        for x in range(-right, right + 1)
        if (y, x) != (0, 0)
    }
    return [TransformFamily(_window(down, right, down, right), views, SLACK)] if views else []


def identity(images: Tensor) -> Tensor:
    """Return thumbnails ``(n, C, 14, 14)`` of whole reduced images, or smaller ones for smaller images."""
    return _pool(images, WHOLE)


def _window(top: int, left: int, down: int, right: int) -> TransformedView:
    """Return a view of the window at ``(top, left)`` that is smaller than the image by twice the margins."""

    def view(images: Tensor) -> Tensor:
        height, width = images.shape[2] - 2 * down, images.shape[3] - 2 * right
        return _pool(images[:, :, top : top + height, left : left + width], MIDDLE)

    return view


def _name(y: int, x: int) -> str:
    parts = [f"{abs(y)} px {'down' if y > 0 else 'up'}"] if y else []
    parts += [f"{abs(x)} px {'right' if x > 0 else 'left'}"] if x else []
    return f"shifted by {' and '.join(parts)}"


def _pool(images: Tensor, side: int) -> Tensor:
    return adaptive_avg_pool2d(images, (min(side, images.shape[2]), min(side, images.shape[3])))
