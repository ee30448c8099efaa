"""Picture of a set with one labelled row of images for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from lightning_distill.spec import DataSpec


def image_grid(pixels: Tensor, labels: Tensor, spec: DataSpec, columns: int = 10, cell: int = 56) -> NDArray[np.uint8]:
    """Draw up to ``columns`` images of every class.

    Args:
        pixels: Images ``(N, C, H, W)`` in pixel units. One or three channels are drawn, else the first one.
        labels: Class of each image, ``(N,)``.
        spec: Pixel range and class names.
        columns: Maximum number of images in a row.
        cell: Height of an image in the picture, in pixels. Images are enlarged by an integer factor.

    Returns:
        Picture ``(H', W', 3)`` uint8.
    """
    channels = pixels[:, :3] if pixels.shape[1] == 3 else pixels[:, :1].expand(-1, 3, -1, -1)
    unit = ((channels.float() - spec.min_value) / max(spec.max_value - spec.min_value, 1e-8)).clamp(0, 1)
    width = min(columns, int(torch.bincount(labels).max()))
    times = max(1, cell // unit.shape[2])
    rows = []
    for label in range(len(spec.balance_groups)):
        members = unit[labels == label][:width]
        blank = members.new_ones(width - len(members), *unit.shape[1:])
        rows.append(torch.cat([members, blank]))
    enlarged = torch.cat(rows).repeat_interleave(times, 2).repeat_interleave(times, 3)
    grid = make_grid(enlarged, nrow=width, padding=2, pad_value=1.0)  # (3, H', W')
    return _label_rows((grid.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), spec.balance_groups)


def _label_rows(grid: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.uint8]:
    font = ImageFont.load_default(13)
    lines = [_wrap_label(name) for name in names]
    margin = int(max(font.getlength(line) for wrapped in lines for line in wrapped.splitlines())) + 12
    picture = Image.new("RGB", (margin + grid.shape[1], grid.shape[0]), "white")
    picture.paste(Image.fromarray(grid), (margin, 0))
    pen, row = ImageDraw.Draw(picture), (grid.shape[0] - 2) / len(names)
    for index, text in enumerate(lines):
        pen.multiline_text((6, row * (index + 0.5)), text, fill="black", font=font, anchor="lm")
    return np.asarray(picture)


def _wrap_label(name: str, width: int = 24, most: int = 3) -> str:
    lines: list[str] = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:most])
