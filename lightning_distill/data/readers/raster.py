"""PNG, JPEG and TIFF through pillow: 8 bits stay as they are, 16 bits become floats of a fixed range."""

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
    ReadOptions,
    UnreadableFile,
    check_pixel_count,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
_SUBFILE, _BITS, _PHOTOMETRIC, _FORMAT = 254, 258, 262, 339  # tags of TIFF
_PREVIEW, _MASK, _WHITE_IS_ZERO, _SIGNED = 1, 4, 0, 2  # what they may say
_PNG_DEPTH = 24


def read_raster(path: Path, options: ReadOptions, name: str) -> DecodedImage:
    """Read a PNG, JPEG or TIFF file, upright as its EXIF orientation says.

    Palettes become RGB. An alpha channel that is opaque everywhere is dropped. A multi-page TIFF gives the pages of
    ``options.frames``, previews and masks of other pages not counted; every other file its first picture.

    Args:
        path: the file.
        options: ``frames`` and ``max_pixels`` concern pictures.
        name: what errors call it.

    Returns:
        uint8 for 1 and 8 bits, float32 as ``value / 65535`` for 16 bits; ``(frames, H, W)`` or ``(frames, H, W, 3)``.

    Raises:
        Unreadable: too many pixels.
        Refused: transparency, CMYK, 32 bits or floats, signed pixels, 16-bit colour, a window.
    """
    if options.window is not None:
        raise InvalidReadOption(f"{name} is a picture, and window= is for DICOM and NIfTI files; leave window out")
    # not by its path: pillow would map a grey TIFF that lies on its side with width and height exchanged
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
            f"{name} has pages of several sizes or kinds; choose one with frames='first' or 'middle'"
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
            f"cannot read {name}: it says it holds more pixels than pillow takes, {2 * (Image.MAX_IMAGE_PIXELS or 0)}; "
            "a picture of that size has to be cut or shrunk first"
        ) from None


def _pages(image: Image) -> list[int]:
    """The numbers of a TIFF file's pages that are pictures of their own; the first of any other file."""
    if image.format != "TIFF":
        return [0]
    own, count = [], getattr(image, "n_frames", 1)
    for page in range(count):
        image.seek(page)
        if not _tags(image).get(_SUBFILE, 0) & (_PREVIEW | _MASK):
            own.append(page)
    return own or list(range(count))


def _tags(image: Image) -> Mapping[int, Any]:
    """The tags of a TIFF file's page; none of other files."""
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def _check_depth(image: Image, path: Path, name: str) -> None:
    """Refuse numbers that pillow makes others of without a word."""
    depth = _depth(path) if image.format == "PNG" else max(_tags(image).get(_BITS, (8,)))
    if image.mode in ("RGB", "RGBA", "LA") and depth == 16:  # it drops the lower eight bits
        kind = f"a {image.format} of 16 bits a colour"
        raise InvalidReadOption(f"{name} is {kind}, which pillow reads as 8; convert it to 8 bits or grey")
    if image.mode in _SIXTEEN and image.format == "TIFF" and depth != 16:  # nor does it spread 12 over 16
        raise InvalidReadOption(f"{name} has {depth} bits a pixel; save it as 8-bit or 16-bit grey")
    if image.mode == "L" and _SIGNED in _tags(image).get(_FORMAT, ()):  # it takes -1 for 255
        raise InvalidReadOption(f"{name} has signed pixels; save it as 8-bit or 16-bit grey, which has none below 0")


def _pixels(image: Image, name: str) -> Array:
    from PIL import ImageOps

    sixteen = image.mode in _SIXTEEN or (image.mode == "I" and image.format == "PNG")
    inverted = _tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    image = ImageOps.exif_transpose(image)
    if sixteen:
        stored = np.asarray(image).astype(np.float64)
        _check_opaque(bool((stored != image.info.get("transparency", -1)).all()), name)
        return ((65535 - stored if inverted else stored) / 65535).astype(np.float32)  # pillow inverts up to 8 bits
    if "transparency" in image.info:  # of one grey or colour, or of entries of the palette
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
        raise InvalidReadOption(
            f"{name} has transparent pixels, which have no grey; flatten it onto a background first"
        )


def _depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(_PNG_DEPTH + 1)[-1]  # signature, length and name of IHDR, width, height, then the depth
