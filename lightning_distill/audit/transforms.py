"""What a copy may have gone through before it was saved again: mirrored, turned, shifted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

#: What is seen of reduced images ``(n, C, H, W)``: small pictures ``(n, C, h, w)``.
TransformedView = Callable[[Tensor], Tensor]
#: Pixels of the side that images are reduced to, of the small picture of a whole, and of that of a middle.
REDUCED, WHOLE, MIDDLE = 28, 14, 11
#: Shifts by up to so many of the 28 reduced pixels are looked for, in each direction.
REACH = 3
#: Shifts are told from .97 on where copies as they lie are from .95 on: of 2,000 training images of DermaMNIST .4 % are
#: as like as .95 to one of another lesion by one of 48 shifts, and none is as like as .97.
SLACK = 0.6


@dataclass(frozen=True)
class TransformFamily:
    """Moves that are looked for together; of an image, the one that makes it most like another is told.

    Args:
        straight: how the images are seen that others are compared with.
        looks: by what has happened to an image (empty: nothing), how it is seen so that this is undone.
        slack: of the distance from 1 that a likeness may have, the share that is granted here: with many looks chance
            has many goes.
    """

    straight: TransformedView
    views: dict[str, TransformedView]
    slack: float = 1.0

    def threshold_for(self, threshold: float) -> float:
        """The likeness from which a move is told, where unmoved copies are told from the threshold on."""
        return 1 - (1 - threshold) * self.slack


def reduced(images: Tensor) -> Tensor:
    """Images ``(n, C, H, W)`` averaged over areas to 28 pixels a side, or left where they have fewer."""
    return _pool(images, REDUCED)


def families(height: int, width: int) -> list[TransformFamily]:
    """All that is looked for in images of this size, in pixels: unmoved copies, mirrored and turned ones, shifted ones.

    Quarter turns need a small picture that is square, shifts a side of 10 pixels.
    """
    square = min(WHOLE, height) == min(WHOLE, width)
    return [
        TransformFamily(identity, {"": identity}),
        TransformFamily(identity, rotations(square)),
        *shifts(height, width),
    ]


def rotations(square: bool = True) -> dict[str, TransformedView]:
    """The ways of laying a square, or else a rectangle, on itself. Turns are clockwise, after mirroring."""
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
    """The middle of one image beside windows of the other, so that what came in at the border does not count.

    Args:
        height: of the images, in pixels.
        width: the same.

    Returns:
        One family with every shift of the reduced images by up to a ninth (3 of 28 pixels) of their side; none where
        that is less than a pixel.
    """
    low, narrow = min(REDUCED, height), min(REDUCED, width)
    down, right = low * REACH // REDUCED, narrow * REACH // REDUCED
    looks = {
        _name(round(y * height / low), round(x * width / narrow)): _window(down + y, right + x, down, right)
        for y in range(-down, down + 1)
        for x in range(-right, right + 1)
        if (y, x) != (0, 0)
    }
    return [TransformFamily(_window(down, right, down, right), looks, SLACK)] if looks else []


def identity(images: Tensor) -> Tensor:
    """All of reduced images, ``(n, C, 14, 14)``, or fewer pixels where they have fewer."""
    return _pool(images, WHOLE)


def _window(top: int, left: int, down: int, right: int) -> TransformedView:
    """The part of an image that begins there and is smaller by twice these margins."""

    def look(images: Tensor) -> Tensor:
        height, width = images.shape[2] - 2 * down, images.shape[3] - 2 * right
        return _pool(images[:, :, top : top + height, left : left + width], MIDDLE)

    return look


def _name(y: int, x: int) -> str:
    parts = [f"{abs(y)} px {'down' if y > 0 else 'up'}"] if y else []
    parts += [f"{abs(x)} px {'right' if x > 0 else 'left'}"] if x else []
    return f"shifted by {' and '.join(parts)}"


def _pool(images: Tensor, side: int) -> Tensor:
    return adaptive_avg_pool2d(images, (min(side, images.shape[2]), min(side, images.shape[3])))
