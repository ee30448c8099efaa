"""Validate image and label arrays and convert them to ``(N, C, H, W)`` and ``(N,)``."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_distill.utils.lazy_arrays import LazyArray, from_memmap

Array = NDArray[np.generic]
Channels = Literal["auto", "first", "last"]
_CHUNK, _PIXELS = 4096, 1 << 22  # images and pixels per chunk; the smaller chunk is used


def as_images(images: Array, split: str, channels: Channels = "auto") -> Array:
    """View images as ``(N, C, H, W)`` without copying; memory-mapped ones become `lazy.FileArray` and stay on disk.

    Args:
        images: Images ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``, uint8 or float.
        split: Name of the split in error messages.
        channels: Position of the channels in a 4-dimensional array; ``auto`` detects an axis of 1, 3 or 4.

    Raises:
        ValueError: The array has wrong dimensions, mixed sizes, no images, an ambiguous layout, or NaN or infinite
            pixels.
        TypeError: The dtype is neither uint8 nor float.
    """
    if channels not in get_args(Channels):
        raise ValueError(f"unknown channels={channels!r}; use one of {', '.join(get_args(Channels))}")
    if isinstance(images, LazyArray):  # validated by another data module
        return images
    images = _as_array(images)
    if images.dtype == object:
        raise ValueError(f"{split} images have mixed sizes (an array of objects); resize them to one height and width")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(f"{split} images are {images.dtype}; give uint8 (0..255) or floats, e.g. images.astype('f4')")
    if images.ndim and len(images) == 0:
        raise ValueError(f"{split} has no images; its array has the shape {images.shape}")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4:
        images = images if _channels_first(images.shape, channels) else images.transpose(0, 3, 1, 2)
    else:
        raise ValueError(f"{split} images have the shape {images.shape}; give (N,H,W), (N,H,W,C) or (N,C,H,W)")
    images = from_memmap(images)
    if images.dtype.kind == "f":
        _refuse_not_finite(images, split)
    return images if images.dtype.isnative else images.astype(images.dtype.newbyteorder("="))


def as_labels(labels: Array, count: int, split: str) -> NDArray[np.int64]:
    """Return integer labels as ``(N,)`` int64, or 0/1 multi-label targets as ``(N, L)`` int64.

    Args:
        labels: Integer labels ``(N,)`` or ``(N, 1)``, or targets ``(N, L)``.
        count: Number of images.
        split: Name of the split in error messages.

    Raises:
        ValueError: The number of labels differs from the number of images, a label is negative, or the shape is wrong.
        TypeError: The labels are not integers.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iub":
        first = f" (first: {labels.flat[0]!r})" if labels.size else ""
        raise TypeError(f"{split} labels are {labels.dtype}{first}; give integers 0..K-1")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2):
        raise ValueError(f"{split} labels have the shape {labels.shape}; give (N,), (N, 1) or 0/1 targets (N, L)")
    if len(labels) != count:
        raise ValueError(f"{split} has {count} images but {len(labels)} labels; give one label an image")
    if labels.min() < 0:
        raise ValueError(f"{split} has the label {labels.min()}; labels count from 0")
    if labels.ndim == 2 and labels.max() > 1:
        raise ValueError(f"{split} labels of the shape {labels.shape} hold {labels.max()}; multi-label targets are 0/1")
    return labels.astype(np.int64)


def pixel_statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...], float, float]:
    """Return mean and standard deviation per channel, and smallest and largest value, computed in float64 chunks."""
    channels = images.shape[1]
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    low, high = np.inf, -np.inf
    step = _step(images)
    for start in range(0, len(images), step):
        raw = images[start : start + step]
        low, high = min(low, raw.min()), max(high, raw.max())
        chunk = raw.astype(np.float64)
        total += chunk.sum((0, 2, 3))
        squares += np.square(chunk, out=chunk).sum((0, 2, 3))
        count += chunk[:, 0].size
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std < 1e-8] = 1.0  # a constant channel is not scaled
    return tuple(mean.tolist()), tuple(std.tolist()), float(low), float(high)


def _as_array(images: Array) -> Array:
    if isinstance(images, np.ndarray):
        return images
    try:
        return np.asarray(images)
    except ValueError:  # rows of unequal shape
        return np.asarray(images, dtype=object)


def _channels_first(shape: tuple[int, ...], channels: Channels) -> bool:
    if channels != "auto":
        return channels == "first"
    first, last = shape[1] in (1, 3, 4), shape[3] in (1, 3, 4)
    if first == last:
        raise ValueError(f"cannot tell the channels of images of the shape {shape}; say channels='first' or 'last'")
    return first


def _step(images: Array) -> int:
    return min(_CHUNK, max(1, _PIXELS // max(1, int(np.prod(images.shape[1:])))))


def _refuse_not_finite(images: Array, split: str) -> None:
    step = _step(images)
    for start in range(0, len(images), step):
        bad = ~np.isfinite(images[start : start + step]).all((1, 2, 3))
        if bad.any():
            index = start + int(bad.argmax())
            raise ValueError(
                f"{split} image {index} has NaN or infinite pixels ({int(bad.sum())} such images near it); "
                "mend or drop them first"
            )
