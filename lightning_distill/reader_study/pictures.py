"""Pictures of the page: 8-bit pixels of one rule for real and synthetic images, as PNG files without metadata."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lightning_distill.spec import DataSpec

Picture = NDArray[np.uint8]


def to_pictures(pixels: Tensor, spec: DataSpec) -> Picture:
    """Map the pixel range of the data to 0 to 255, the same for every image.

    Args:
        pixels: Images ``(N, C, H, W)`` in pixel units, with one or three channels.
        spec: Pixel range of the data.

    Returns:
        Pictures ``(N, H, W, C)`` uint8.
    """
    span = max(spec.max_value - spec.min_value, 1e-8)
    unit = ((pixels.float() - spec.min_value) / span).clamp(0, 1)
    pictures: Picture = (unit * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return pictures


def png_uri(picture: Picture) -> str:
    """Return a picture as a ``data:`` URI of a PNG file with the chunks IHDR, IDAT and IEND alone.

    The pixels are stored without compression: files of one size are of one length, which tells nothing of an image.

    Args:
        picture: Picture ``(H, W, C)`` uint8 with one or three channels.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(buffer, "PNG", compress_level=0)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
