"""Prepare a receiver's own images as the images behind a set were prepared: intensity, colour, size, normalisation."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.spec import DataSpec
from lightning_distill.utils.resize import Fit, resize_plane, to_grey, to_square

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.generic]
_NUMBER = r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_RANGE = re.compile(rf"{_NUMBER} to {_NUMBER}")
_FITS = {
    "stretch": "stretched to",
    "crop": "cropped to the central square and resized to",
    "pad": "padded with zeros to a square and resized to",
}
#: Pillow modes of images that are read as they are; palettes and bits are converted.
_MODES = ("L", "RGB", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def intensity_ranges(spec: DataSpec) -> list[tuple[float, float]]:
    """Return the stored values that become 0 and 1, one pair for each window; empty where pixels are kept as they are.

    Args:
        spec: Specification with an ``intensity_scale`` as the readers write it.

    Example:
        >>> scale = "CT window lung, -1350 to 150 HU as 0 to 1"
        >>> intensity_ranges(DataSpec("ct", (1, 8, 8), ("a", "b"), (0.5,), (0.2,), intensity_scale=scale))
        [(-1350.0, 150.0)]
    """
    text, converted, _ = spec.intensity_scale.rpartition("as 0 to 1")
    return [(float(low), float(high)) for low, high in _RANGE.findall(text)] if converted else []


def describe_preparation(spec: DataSpec) -> str:
    """Return the steps from a stored image to the input of a network, for cards.

    Args:
        spec: Specification of the data.
    """
    channels, height, width = spec.shape
    size = f"{height} x {width} pixels"
    unit = f"{spec.storage_dtype.rstrip('0123456789')} {spec.min_value:g} to {spec.max_value:g}"
    windows = len(intensity_ranges(spec)) > 1
    colour = {1: "grey (ITU-R BT.601)", 3: "red, green, blue"}.get(channels, f"{channels} channels")
    fit = f"{_FITS[spec.resize]} {size} (bilinear, antialiased)" if spec.resize in _FITS else None
    if fit is None and spec.resize == "none":
        fit = f"{size} as in the files, not resized"
    steps = [
        f"intensity: {spec.intensity_scale or f'{unit}, as given'}",
        "a channel for each window" if windows else colour,
        fit or f"{size}, {spec.resize or 'how they were resized is not stated'}",
        "(pixel - mean) / std",
    ]
    return "; ".join(steps)


@dataclass(frozen=True)
class PrepareImage:
    """Callable that prepares an image as the card of a set states, for training beside the set or for prediction.

    The intensity is scaled (windows, bit depth), colours are converted, the size is changed, and the result is
    normalised, in this order and with the functions of `FolderDataModule`. It can be the ``transform`` of a torchvision
    data set.

    Args:
        spec: Specification in the card of the set.

    Example:
        >>> spec = DataSpec("xray", (1, 8, 8), ("a", "b"), mean=(100.0,), std=(50.0,), resize="stretch")
        >>> prepare = PrepareImage(spec)
        >>> prepare(np.full((20, 30, 3), 150, np.uint8)).shape, prepare(np.full((8, 8), 150, np.uint8)).unique().item()
        (torch.Size([1, 8, 8]), 1.0)
    """

    spec: DataSpec

    def __call__(self, image: Image | Pixels | Tensor) -> Tensor:
        """Prepare one image, or a batch of tensors.

        Args:
            image: Pillow image, array ``(H, W)`` or ``(H, W, C)``, tensor ``(C, H, W)`` or ``(N, C, H, W)``, with the
                pixels as they are stored in the file (CT: HU), not scaled to [0, 1].

        Returns:
            Normalised image ``(C, H, W)`` float32, or ``(N, C, H, W)`` for a batch.

        Raises:
            TypeError: The argument is no image.
            ValueError: Shape, channels or pixel range are not those that the card states.
        """
        if isinstance(image, Tensor) and image.ndim == 4:
            return torch.stack([self(one) for one in image])
        pixels = self._intensity(_to_array(image))
        planes = [self._resized(plane) for plane in self._channels(pixels)]
        return self.spec.normalize(torch.from_numpy(np.stack(planes))[None])[0]

    def _intensity(self, pixels: Pixels) -> Pixels:
        """Return pixels in the units of the set; several windows become the last axis."""
        spec, ranges = self.spec, intensity_ranges(self.spec)
        values = pixels.astype(np.float64)
        low, high = float(values.min()), float(values.max())
        stated = spec.intensity_scale or f"{spec.storage_dtype} from {spec.min_value:g} to {spec.max_value:g}"
        if not np.isfinite([low, high]).all():
            raise ValueError("the image has NaN or infinite pixels; replace them")
        largest = max((end for _, end in ranges), default=255.0 if spec.storage_dtype == "uint8" else 0.0)
        if pixels.dtype.kind == "f" and largest > 2 and low >= 0 and 0 < high <= 1:
            raise ValueError(
                f"float pixels from {low:g} to {high:g}, but the set was made from {stated}; give the stored pixels"
            )
        if ranges:
            if pixels.dtype == np.uint8 and not spec.intensity_scale.startswith("8 bit"):
                raise ValueError(f"8-bit pixels, but the set was made from {stated}; give the stored pixels")
            scaled = [np.clip((values - a) / (b - a), 0.0, 1.0).astype(np.float32) for a, b in ranges]
            if len(scaled) > 1 and pixels.ndim == 3:
                raise ValueError(f"a colour image, but the set was made from {stated}; give grey pixels (H, W)")
            return scaled[0] if len(scaled) == 1 else np.stack(scaled, -1)
        slack = 0.0 if spec.storage_dtype == "uint8" or spec.intensity_scale else spec.max_value - spec.min_value
        if low < spec.min_value - slack or high > spec.max_value + slack:
            raise ValueError(
                f"pixels from {low:g} to {high:g}, but the set was made from {stated}; convert the image to that range"
            )
        if spec.storage_dtype == "uint8":
            return pixels if pixels.dtype == np.uint8 else np.rint(values).astype(np.uint8)
        return values.astype(np.float32)

    def _channels(self, pixels: Pixels) -> list[Pixels]:
        """Return a plane ``(H, W)`` for each channel of the set."""
        wanted = self.spec.shape[0]
        given = 1 if pixels.ndim == 2 else pixels.shape[2]
        if given == wanted:
            return [pixels] if pixels.ndim == 2 else [pixels[..., channel] for channel in range(given)]
        if (given, wanted) == (3, 1):
            return [to_grey(pixels)]
        if (given, wanted) == (1, 3):
            return [pixels if pixels.ndim == 2 else pixels[..., 0]] * 3
        raise ValueError(
            f"an image of {given} channels, the set has {wanted}; give (H, W) or (H, W, {wanted}) arrays, or "
            f"({wanted}, H, W) tensors"
        )

    def _resized(self, plane: Pixels) -> Pixels:
        """Return a plane ``(H, W)`` in the size of the set."""
        size = self.spec.shape[1:]
        if plane.shape == size:
            return plane
        if self.spec.resize in _FITS:
            return resize_plane(to_square(plane, cast(Fit, self.spec.resize)), size)
        warnings.warn(
            "the card does not state how images were resized; images of other sizes are stretched to "
            f"{size[0]} x {size[1]} pixels",
            stacklevel=5,
        )
        return resize_plane(plane, size)


def _to_array(image: object) -> Pixels:
    """Return pixels ``(H, W)`` or ``(H, W, C)``."""
    if isinstance(image, Tensor):
        pixels = image.detach().cpu().float().numpy() if image.dtype is torch.bfloat16 else image.detach().cpu().numpy()
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
    elif isinstance(image, np.ndarray):
        pixels = image
    elif hasattr(image, "mode") and hasattr(image, "convert"):
        pixels = _pillow_array(cast("Image", image))
    else:
        raise TypeError(
            f"cannot prepare {type(image).__name__}; open the file first (PIL.Image.open) or give an array or tensor"
        )
    if pixels.dtype.kind not in "uif":
        raise TypeError(f"cannot prepare pixels of type {pixels.dtype}; give integers or floats")
    if pixels.ndim not in (2, 3) or not pixels.size:
        raise ValueError(f"an array of the shape {pixels.shape}; give (H, W) or (H, W, C) arrays, or (C, H, W) tensors")
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _pillow_array(image: Image) -> Pixels:
    if image.mode in ("1", "P", "YCbCr"):
        image = image.convert({"1": "L"}.get(image.mode, "RGB"))
    if image.mode not in _MODES:
        raise ValueError(f"the image has the pixel format {image.mode}; convert it with .convert('RGB') or 'L'")
    return np.asarray(image)
