"""Pictures of one data set brought to one size and colour, and refused where they do not belong together."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.readers import DecodedImage, InvalidReadOption
from lightning_distill.data.readers.base import INVERTED, Rescale

Fit = Literal["stretch", "crop", "pad"]
Color = Literal["keep", "grey", "rgb"]
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as pillow weighs red, green and blue


class PhotometricCheck:
    """Remembers the first picture and refuses those that do not fit it.

    Args:
        mixed_photometric: accept grey files that are stored inverted beside others; both are given upright.
    """

    def __init__(self, mixed_photometric: bool) -> None:
        self.mixed_photometric = mixed_photometric
        self.first: DecodedImage | None = None
        self._name = ""
        self._rescales: dict[Rescale, str] = {}

    def check(self, picture: DecodedImage, name: str) -> None:
        """Compare a fitted picture with the first.

        Raises:
            Refused: another kind, scale, number of channels, or size; rescale tags that others have and this one lacks.
        """
        self._rescales.setdefault(picture.rescale, name)
        if {"absent", "other"} <= set(self._rescales):
            raise InvalidReadOption(
                f"{self._rescales['absent']} has no rescale slope and intercept and {self._rescales['other']} has, so "
                "their numbers mean different things; get the file again, or say that they are alike by assume_hu=True"
            )
        if self.first is None:
            self.first, self._name = picture, name
            return
        first, names = self.first, f"{name} and {self._name}"
        if picture.pixels.shape[1] != first.pixels.shape[1]:
            raise InvalidReadOption(f"{names} are {picture.kind} and {first.kind}; give color='grey' or 'rgb'")
        if (picture.kind == INVERTED) != (first.kind == INVERTED) and not self.mixed_photometric:
            raise InvalidReadOption(
                f"{names} mix photometric interpretations, {picture.kind} and {first.kind}, which often tells the "
                "device and so the site; mixed_photometric=True accepts that, both come with bright as bright"
            )
        if picture.scale != first.scale:
            raise InvalidReadOption(
                f"{names} have different scales, {picture.scale!r} and {first.scale!r}; give one window=(center, "
                "width) where the files are DICOM or NIfTI, else convert them to one depth"
            )
        ours, theirs = picture.pixels.shape[-2:], first.pixels.shape[-2:]
        if ours != theirs:
            raise InvalidReadOption(
                f"{names} have different sizes, {ours[0]} x {ours[1]} and {theirs[0]} x {theirs[1]} pixels (H x W); "
                "give size=64, say, to resize all"
            )


def resize_to_square(picture: DecodedImage, size: int | None, fit: Fit, color: Color, name: str) -> DecodedImage:
    """Bring a picture to a colour and a size, on its scale.

    Args:
        picture: ``(frames, H, W)`` or ``(frames, H, W, C)``.
        size: height and width; ``None`` leaves them. Resizing is bilinear and antialiased, on floats.
        fit: ``stretch`` changes the proportions, ``crop`` cuts the middle square out, ``pad`` adds black to a square.
        color: ``grey`` weighs colours by ITU-R 601, ``rgb`` repeats grey three times.
        name: of the file, for errors.

    Returns:
        ``(frames, C, H, W)`` in the picture's dtype, with the kind that the file has.

    Raises:
        Refused: a colour for a channel a window.
    """
    pixels, colour = picture.pixels, picture.kind == "colour"
    if picture.kind == "windows" and color != "keep":
        raise InvalidReadOption(
            f"color={color!r} with several windows, each of which is a channel; leave one of the two out"
        )
    if color == "grey" and colour:
        pixels = _round(pixels @ _LUMA, pixels.dtype)
    if color == "rgb" and not colour:
        pixels = np.stack([pixels] * 3, -1)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)  # (frames, C, H, W)
    if size is not None and pixels.shape[-2:] != (size, size):
        pixels = np.stack([[_resize(_square(plane, fit), size) for plane in frame] for frame in pixels])
    return replace(picture, pixels=np.ascontiguousarray(pixels))


def _square(plane: Array, fit: Fit) -> Array:
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


def _resize(plane: Array, size: int) -> Array:
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return _round(np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)), plane.dtype)


def _round(values: NDArray[np.floating], dtype: np.dtype[np.generic]) -> Array:
    return np.rint(values).astype(dtype) if dtype.kind == "u" else values.astype(dtype)
