"""Read PNG, JPEG and TIFF files with pillow: 8-bit pixels as stored, 16-bit pixels as floats in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.readers.base import (
    EIGHT_BIT,
    DecodedImage,
    InvalidReadOption,
    Reader,
    ReadOptions,
    UnreadableFile,
    check_pixel_count,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
_SUBFILE, _BITS, _PHOTOMETRIC, _FORMAT = 254, 258, 262, 339  # TIFF tags
_PREVIEW, _MASK, _WHITE_IS_ZERO, _SIGNED = 1, 4, 0, 2  # values of these tags
_PNG_DEPTH = 24


def read_raster(path: Path, options: ReadOptions, name: str, mask: Path | None = None) -> DecodedImage:
    """Read a PNG, JPEG or TIFF file and apply its EXIF orientation.

    Palettes become RGB. A fully opaque alpha channel is dropped. ``options.frames`` selects pages of a multi-page
    TIFF, not counting previews and masks of other pages; of any other file the first image is read.

    Args:
        path: Path of the file.
        options: Read options; ``frames`` and ``max_pixels`` apply.
        name: Name of the file in error messages.
        mask: Ignored; only volumes have masks.

    Returns:
        Image ``(frames, H, W)`` or ``(frames, H, W, 3)``: uint8 for 1 and 8 bits, float32 ``value / 65535`` for 16
        bits.

    Raises:
        UnreadableFile: The file declares too many pixels.
        InvalidReadOption: The file has transparency, CMYK, 32-bit, float or signed pixels or 16-bit colour, or a
            window is given.
    """
    if options.window is not None:
        raise InvalidReadOption(f"{name} is a PNG, JPEG or TIFF file and window= needs DICOM or NIfTI; remove window")
    # Opened as a file object: given a path, pillow maps a rotated grey TIFF with width and height exchanged.
    with path.open("rb") as file, _open(file, name) as image:
        pages = _pages(image)
        pages = [pages[number] for number in options.choose(len(pages))]
        check_pixel_count(name, (len(pages), image.height, image.width), options.max_pixels)
        frames = []
        for page in pages:
            image.seek(page)
            check_pixel_count(name, (len(pages), image.height, image.width), options.max_pixels)
            _check_depth(image, path, name)
            frames.append(_pixels(image, name))
    if len({(frame.shape, frame.dtype) for frame in frames}) > 1:
        raise InvalidReadOption(
            f"{name} has pages of several sizes or pixel formats; select one with frames='first' or 'middle'"
        )
    pixels = np.stack(frames)
    scale = EIGHT_BIT if pixels.dtype == np.uint8 else "16 bit, 0 to 65535 as 0 to 1"
    return DecodedImage(pixels, scale, "grey" if pixels.ndim == 3 else "colour")


def _open(file: BinaryIO, name: str) -> Image:
    from PIL import Image

    try:
        return Image.open(file, formats=("PNG", "JPEG", "TIFF"))
    except Image.DecompressionBombError:
        raise UnreadableFile(
            f"cannot read {name}: its header declares more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels, the "
            "limit of "
            "pillow; crop or shrink the image first"
        ) from None


def _pages(image: Image) -> list[int]:
    """Return the numbers of the TIFF pages that are neither previews nor masks, or [0] for other files."""
    if image.format != "TIFF":
        return [0]
    pages, count = [], getattr(image, "n_frames", 1)
    for page in range(count):
        image.seek(page)
        if not _tags(image).get(_SUBFILE, 0) & (_PREVIEW | _MASK):
            pages.append(page)
    return pages or list(range(count))


def _tags(image: Image) -> Mapping[int, Any]:
    """Return the tags of the current TIFF page, or an empty mapping for other files."""
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def _check_depth(image: Image, path: Path, name: str) -> None:
    """Refuse pixel formats that pillow converts silently to other values."""
    depth = _depth(path) if image.format == "PNG" else max(_tags(image).get(_BITS, (8,)))
    if image.mode in ("RGB", "RGBA", "LA") and depth == 16:  # pillow drops the lower eight bits
        kind = f"a {image.format} with 16 bits per colour"
        raise InvalidReadOption(f"{name} is {kind}, which pillow reads as 8 bits; convert it to 8 bits or grey")
    if image.mode in _SIXTEEN and image.format == "TIFF" and depth != 16:  # pillow does not scale 12 bits to 16
        raise InvalidReadOption(f"{name} has {depth} bits per pixel; save it as 8-bit or 16-bit grey")
    if image.mode == "L" and _SIGNED in _tags(image).get(_FORMAT, ()):  # pillow reads -1 as 255
        raise InvalidReadOption(f"{name} has signed pixels; save it as unsigned 8-bit or 16-bit grey")


def _pixels(image: Image, name: str) -> Array:
    from PIL import ImageOps

    sixteen = image.mode in _SIXTEEN or (image.mode == "I" and image.format == "PNG")
    inverted = _tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    image = ImageOps.exif_transpose(image)
    if sixteen:
        stored = np.asarray(image).astype(np.float64)
        _check_opaque(bool((stored != image.info.get("transparency", -1)).all()), name)
        return ((65535 - stored if inverted else stored) / 65535).astype(np.float32)  # pillow inverts only up to 8 bits
    if "transparency" in image.info:  # one transparent grey level, colour or palette entry
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode == "P":
        image = image.convert("RGB")
    if image.mode in ("RGBA", "LA"):
        _check_opaque(np.asarray(image)[..., -1].min() == 255, name)
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    if image.mode in ("1", "YCbCr"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode not in ("L", "RGB"):
        raise InvalidReadOption(
            f"{name} has the pixel format {image.mode}; save it as 8-bit grey or RGB, or as 16-bit grey"
        )
    return np.asarray(image)


def _check_opaque(opaque: bool, name: str) -> None:
    if not opaque:
        raise InvalidReadOption(f"{name} has transparent pixels; flatten it onto a background first")


def _depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(_PNG_DEPTH + 1)[-1]  # the byte after the signature, the IHDR length and name, width and height


READER = Reader((".png", ".jpg", ".jpeg", ".tif", ".tiff"), read_raster)
