"""Picture ``grid.png`` beside a set file: drawn from the set, and drawn again where it belongs to another set."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from lightning_distill.sets.arrays import Card
from lightning_distill.sets.image_grid import image_grid
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.utils.atomic_files import remove_stale_temporaries, write_files_atomically

GRID = "grid.png"
#: Text entry of the PNG file with the sha256 of the set that it shows.
DIGEST = "set sha256"


def write_picture(folder: Path, data: LabeledSet, card: Card) -> Path:
    """Write ``grid.png`` with a row of images for each class, unless it shows this set already.

    Args:
        folder: Folder of the set.
        data: Set as it is stored; sub-images are decoded.
        card: Card of the set with its digest.

    Returns:
        Path of the picture.

    Raises:
        OSError: The folder cannot be written.
    """
    path, digest = folder / GRID, str(card.get("sha256"))
    remove_stale_temporaries(path)
    if _digest_of(path) != digest:
        decoded, text, buffer = data.decode(), PngInfo(), io.BytesIO()
        text.add_text(DIGEST, digest)
        Image.fromarray(image_grid(decoded.pixels, decoded.labels, decoded.spec)).save(buffer, "PNG", pnginfo=text)
        write_files_atomically({path: buffer.getvalue()})
    return path


def _digest_of(path: Path) -> str | None:
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return str(picture.info.get(DIGEST))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return None
