"""Resize and convert the images of a data set, and refuse images with different scales, sizes or kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from lightning_distill.data.readers import DecodedImage, InvalidReadOption
from lightning_distill.data.readers.base import INVERTED, Rescale
from lightning_distill.utils.resize import Fit, resize_plane, to_grey, to_square

Color = Literal["keep", "grey", "rgb"]


class PhotometricCheck:
    """Compare each image of a data set with the first one.

    Args:
        mixed_photometric: Accept grey files that are stored inverted beside others; readers undo the inversion.
    """

    def __init__(self, mixed_photometric: bool) -> None:
        self.mixed_photometric = mixed_photometric
        self.first: DecodedImage | None = None
        self._name = ""
        self._rescales: dict[Rescale, str] = {}

    def check(self, image: DecodedImage, name: str) -> None:
        """Compare a resized image with the first one.

        Args:
            image: Pixels ``(frames, C, H, W)`` with their scale and kind.
            name: Name of the file in error messages.

        Raises:
            InvalidReadOption: The kind, scale, number of channels or size differs, or the rescale tags are missing
                while other files have them.
        """
        self._rescales.setdefault(image.rescale, name)
        if {"absent", "other"} <= set(self._rescales):
            raise InvalidReadOption(
                f"{self._rescales['absent']} has no rescale slope and intercept and {self._rescales['other']} has; "
                "re-export "
                "the file with these tags, or set assume_hu=True if all stored values have one unit"
            )
        if self.first is None:
            self.first, self._name = image, name
            return
        first, names = self.first, f"{name} and {self._name}"
        if image.pixels.shape[1] != first.pixels.shape[1]:
            raise InvalidReadOption(f"{names} are {image.kind} and {first.kind}; set color='grey' or 'rgb'")
        if (image.kind == INVERTED) != (first.kind == INVERTED) and not self.mixed_photometric:
            raise InvalidReadOption(
                f"{names} mix photometric interpretations, {image.kind} and {first.kind}, which often reveals the "
                "device and so the site; mixed_photometric=True accepts them and undoes the inversion"
            )
        if image.scale != first.scale:
            raise InvalidReadOption(
                f"{names} have different scales, {image.scale!r} and {first.scale!r}; give one window=(center, "
                "width) for DICOM and NIfTI files, or convert other files to one bit depth"
            )
        shape, first_shape = image.pixels.shape[-2:], first.pixels.shape[-2:]
        if shape != first_shape:
            raise InvalidReadOption(
                f"{names} have different sizes, {shape[0]} x {shape[1]} and {first_shape[0]} x {first_shape[1]} "
                "pixels (H x W); "
                "set size, e.g. size=64, to resize all images"
            )


def resize_to_square(image: DecodedImage, size: int | None, fit: Fit, color: Color, name: str) -> DecodedImage:
    """Convert the colour of an image and resize it to a square. Its intensity scale and dtype do not change.

    Args:
        image: Pixels ``(frames, H, W)`` or ``(frames, H, W, C)``.
        size: Height and width of the result in pixels; ``None`` keeps the size. Resizing is bilinear and antialiased,
            in float32.
        fit: Method for images that are not square: ``stretch`` changes the proportions, ``crop`` cuts out the central
            square, ``pad`` adds a black border.
        color: Colour conversion: ``grey`` weights colours by ITU-R BT.601, ``rgb`` repeats grey three times, ``keep``
            changes nothing.
        name: Name of the file in error messages.

    Returns:
        Image ``(frames, C, H, W)`` with the dtype, scale and kind of the argument.

    Raises:
        InvalidReadOption: A colour conversion is set and the channels are windows.
    """
    pixels, colour = image.pixels, image.kind == "colour"
    if image.kind == "windows" and color != "keep":
        raise InvalidReadOption(
            f"color={color!r} cannot be combined with several windows (one channel each); remove one of the two options"
        )
    if color == "grey" and colour:
        pixels = to_grey(pixels)
    if color == "rgb" and not colour:
        pixels = np.stack([pixels] * 3, -1)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)  # (frames, C, H, W)
    if size is not None and pixels.shape[-2:] != (size, size):
        pixels = np.stack([[resize_plane(to_square(plane, fit), (size, size)) for plane in frame] for frame in pixels])
    return replace(image, pixels=np.ascontiguousarray(pixels))
