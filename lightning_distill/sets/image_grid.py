"""Picture of a set with one labelled row of images for each class, at a size a person can see."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lightning_distill.spec import DataSpec

#: Least height and width of an image in a picture, in pixels.
TILE = 96
#: White pixels between images.
GAP = 6
_FONT_SIZE = 15


def image_grid(
    pixels: Tensor, labels: Tensor, spec: DataSpec, columns: int = 10, cell: int = TILE
) -> NDArray[np.uint8]:
    """Draw up to ``columns`` images of every class, with the names of the classes at the rows.

    Args:
        pixels: Images ``(N, C, H, W)`` in pixel units. One or three channels are drawn, else the first one.
        labels: Class of each image, ``(N,)``.
        spec: Pixel range and class names.
        columns: Maximum number of images in a row.
        cell: Least height and width of an image in the picture, in pixels. Smaller images are enlarged by an integer
            factor; their pixels stay squares of one colour.

    Returns:
        Picture ``(H', W', 3)`` uint8.

    Raises:
        ValueError: There are no images, or ``columns`` is below one.
    """
    if columns < 1 or not len(labels):
        raise ValueError(f"columns={columns} for {len(labels)} images; at least one of each is needed")
    counts = torch.bincount(labels, minlength=len(spec.balance_groups))
    width = min(columns, int(counts.max()))
    height, breadth = tile_size(spec, cell)
    grid = np.full((len(counts) * (height + GAP) + GAP, width * (breadth + GAP) + GAP, 3), 255, np.uint8)
    for row in range(len(counts)):
        members = (labels == row).nonzero().flatten()[:width]
        for column, image in enumerate(tiles(pixels[members], spec, cell)):
            top, left = row * (height + GAP) + GAP, column * (breadth + GAP) + GAP
            grid[top : top + height, left : left + breadth] = image
    return label_rows(grid, spec.balance_groups)


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture ``(H, W, 3)`` as the content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def tile_size(spec: DataSpec, cell: int = TILE) -> tuple[int, int]:
    """Return height and width of an image in a picture: an integer multiple of its size.

    Args:
        spec: Size of an image.
        cell: Least height and width.
    """
    height, width = spec.shape[1:]
    times = max(1, math.ceil(cell / min(height, width)))
    return times * height, times * width


def tiles(pixels: Tensor, spec: DataSpec, cell: int = TILE) -> NDArray[np.uint8]:
    """Return images as RGB tiles ``(N, h, w, 3)`` uint8, enlarged without interpolation.

    Args:
        pixels: Images ``(N, C, H, W)`` in pixel units.
        spec: Pixel range.
        cell: Least height and width of a tile in pixels.
    """
    channels = pixels[:, :3] if pixels.shape[1] == 3 else pixels[:, :1].expand(-1, 3, -1, -1)
    unit = ((channels.float() - spec.min_value) / max(spec.max_value - spec.min_value, 1e-8)).clamp(0, 1)
    times = tile_size(spec, cell)[0] // pixels.shape[2]
    enlarged = unit.repeat_interleave(times, 2).repeat_interleave(times, 3).permute(0, 2, 3, 1)
    values: NDArray[np.uint8] = (enlarged.cpu().numpy() * 255).round().astype(np.uint8)
    return values


def label_rows(grid: NDArray[np.uint8], names: Sequence[str], above: Sequence[str] = ()) -> NDArray[np.uint8]:
    """Write a name in front of each row of equal height, and a text above each column of equal width.

    Args:
        grid: Rows of images with a gap of `GAP` pixels around them, ``(H, W, 3)``.
        names: Name of each row.
        above: Text above each column; empty for none.
    """
    row = (grid.shape[0] - GAP) / len(names)
    size = max(8, min(_FONT_SIZE, int(row) - 1))
    font, most = ImageFont.load_default(size), max(1, int(row / (1.35 * size)))
    lines = [_wrap_label(name, most=min(4, most)) for name in names]
    margin = math.ceil(max(font.getlength(line) for wrapped in lines for line in wrapped.splitlines() or [""])) + 14
    top = math.ceil(1.6 * size) if above else 0
    picture = Image.new("RGB", (margin + grid.shape[1], top + grid.shape[0]), "white")
    picture.paste(Image.fromarray(grid), (margin, top))
    pen = ImageDraw.Draw(picture)
    for index, text in enumerate(lines):
        pen.multiline_text((6, top + row * (index + 0.5) + GAP / 2), text, fill="black", font=font, anchor="lm")
    for index, text in enumerate(above):
        column = (grid.shape[1] - GAP) / len(above)
        pen.text((margin + column * (index + 0.5) + GAP / 2, top / 2), text, fill="black", font=font, anchor="mm")
    return np.asarray(picture)


def _wrap_label(name: str, width: int = 24, most: int = 3) -> str:
    """Break a name at spaces into at most ``most`` lines; what is cut off is marked by three dots."""
    lines: list[str] = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    lines = [line if len(line) <= width else f"{line[: width - 3]}..." for line in lines]
    return "\n".join(lines) if len(lines) <= most else "\n".join([*lines[: most - 1], f"{lines[most - 1]} ..."])
