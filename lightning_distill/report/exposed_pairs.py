"""Pictures of the real images that a set exposes most. They show patients: no page holds them by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lightning_distill.report.neighbours import tile
from lightning_distill.spec import DataSpec
from lightning_distill.visualization.style import INK, MUTED

#: Height of an image in the picture in pixels.
CELL = 88


@dataclass(frozen=True)
class ExposedPairs:
    """Pictures of real images beside images of one set.

    Args:
        closest: Images of the set with the highest correlation to a training image, each above that image.
        correlations: Correlation of each of these pairs, in decreasing order.
        exposed: Training images that the strongest attack finds most often, each below the image of the set that is
            most correlated with it; ``None`` where the folder of the audit was not given.
        attack: Name of that attack in words.
        data: Name of the data set.
    """

    closest: Image.Image
    correlations: Sequence[float]
    exposed: Image.Image | None
    attack: str
    data: str


def pair_picture(
    upper: Tensor, lower: Tensor, spec: DataSpec, titles: tuple[str, str], captions: Sequence[str]
) -> Image.Image:
    """Draw two rows of images with a caption below each column.

    Args:
        upper: Images of the upper row, ``(M, C, H, W)`` in pixel units.
        lower: Images of the lower row, ``(M, C, H, W)`` in pixel units.
        spec: Pixel range.
        titles: Name of each row.
        captions: Text below each column.
    """
    times, gap, line = max(1, CELL // spec.shape[1]), 10, 28
    height, width = times * spec.shape[1], times * spec.shape[2]
    font, small = ImageFont.load_default(16), ImageFont.load_default(18)
    margin = 24 + int(max(small.getlength(text) for text in titles))
    step = max(width, *(int(font.getlength(text)) for text in captions)) + gap
    picture = Image.new("RGB", (margin + len(captions) * step, 3 * gap + 2 * height + line), "white")
    pen = ImageDraw.Draw(picture)
    for row, (title, images) in enumerate(zip(titles, (upper, lower), strict=True)):
        top = gap + row * (height + gap)
        pen.text((8, top + height // 2), title, fill=MUTED, font=small, anchor="lm")
        for column, image in enumerate(images):
            picture.paste(tile(image, spec, times), (margin + column * step + (step - gap - width) // 2, top))
    for column, text in enumerate(captions):
        middle = margin + column * step + (step - gap) // 2
        pen.text((middle, 2 * gap + 2 * height + 4), text, fill=INK, font=font, anchor="ma")
    return picture
