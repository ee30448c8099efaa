"""Encode and decode 8-bit PNG files of grey and RGB images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

#: Numbers of channels that a PNG file holds here, and Pillow's modes.
MODES = {1: "L", 3: "RGB"}


def encode_png(image: NDArray[np.generic]) -> bytes:
    """Encode an image ``(C, H, W)`` uint8 of one or three channels."""
    buffer = io.BytesIO()
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(pixels, MODES[len(image)]).save(buffer, "PNG")
    return buffer.getvalue()


def read_pngs(folder: Path, names: Sequence[str], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read PNG files of one shape.

    Args:
        folder: Folder of the files.
        names: Relative paths below the folder.
        shape: Shape ``(C, H, W)`` that every image must have.

    Returns:
        Images ``(N, C, H, W)``.

    Raises:
        ValueError: A name leads out of the folder, or a file is missing, damaged, or of another shape.
    """
    images, root = [], folder.resolve()
    for name in names:
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise ValueError(f"{name!r} is not in the folder of the export")
        images.append(_read(path, name, shape))
    return np.stack(images)


def _read(path: Path, name: str, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=["PNG"]) as file:
            if file.size != (shape[2], shape[1]) or file.mode != MODES.get(shape[0]):  # before a pixel is decoded
                raise ValueError(f"{name} has {file.size[0]} x {file.size[1]} pixels of mode {file.mode}, not {shape}")
            pixels = np.asarray(file)
    except FileNotFoundError:
        raise ValueError(f"{name} is missing") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, OSError) as error:
        raise ValueError(f"{name} is no readable PNG file") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
