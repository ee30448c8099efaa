"""Square, resize and convert planes of one image with numpy and Pillow."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Method that makes an image square before it is resized.
Fit = Literal["stretch", "crop", "pad"]
#: ITU-R BT.601 weights of red, green and blue, as in Pillow.
LUMA = np.array([0.299, 0.587, 0.114])
Plane = NDArray[np.generic]


def to_square(plane: Plane, fit: Fit) -> Plane:
    """Make a plane ``(H, W)`` square: ``crop`` cuts out the centre, ``pad`` adds zeros, ``stretch`` changes nothing."""
    height, width = plane.shape
    if fit == "stretch" or height == width:
        return plane
    edge = min(height, width) if fit == "crop" else max(height, width)
    top, left = abs(height - edge) // 2, abs(width - edge) // 2
    if fit == "crop":
        return plane[top : top + edge, left : left + edge]
    square = np.zeros((edge, edge), plane.dtype)
    square[top : top + height, left : left + width] = plane
    return square


def resize_plane(plane: Plane, size: tuple[int, int]) -> Plane:
    """Resize a plane to height and width by linear interpolation in float32 (antialiased), and keep its dtype."""
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return round_to(np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)), plane.dtype)


def to_grey(pixels: Plane) -> Plane:
    """Convert colours ``(..., 3)`` to grey ``(...)`` by `LUMA`, and keep their dtype."""
    return round_to(pixels @ LUMA, pixels.dtype)


def round_to(values: NDArray[np.floating], dtype: np.dtype[np.generic]) -> Plane:
    """Cast numbers to a dtype; unsigned integers are rounded to the nearest."""
    return np.rint(values).astype(dtype) if dtype.kind == "u" else values.astype(dtype)
