"""What a reader gives, what it may be asked for, and the two ways in which it says no."""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.readers.windows import Windows, parse_windows

Frames = Literal["middle", "first", "all", "mask"]
Axis = Literal["axial", "coronal", "sagittal"]
Rescale = Literal["none", "absent", "identity", "other"]
Kind = Literal["grey", "grey (stored inverted)", "colour", "windows"]
EIGHT_BIT = "8 bit, 0 to 255"
INVERTED: Kind = "grey (stored inverted)"

_NOT_THE_FILES_FAULT = {
    errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip
_TALKATIVE = ("pydicom", "nibabel", "nibabel.global", "PIL")


class UnreadableFile(ValueError):
    """The file is at fault: truncated, damaged, or not what its name says. It may be left out."""


class InvalidReadOption(ValueError):
    """The file can be read, but not as it was asked for; leaving it out would hide a wrong setting."""


@dataclass(frozen=True)
class DecodedImage:
    """The pixels of one file on a scale that does not depend on them.

    Args:
        pixels: uint8 as stored, or float32 in [0, 1]; ``(frames, H, W)`` or ``(frames, H, W, C)``.
        scale: what the values stand for, e.g. ``8 bit, 0 to 255``; pictures of two scales do not belong together.
        kind: grey, grey whose file held it inverted (MONOCHROME1), colour, or a channel a window.
        rescale: of a DICOM file, whether its tags say what its stored numbers become: ``absent``, the ``identity``, or
            ``other``. ``none`` where that is no question: other formats, or numbers that were said to be HU.
    """

    pixels: Array
    scale: str
    kind: Kind
    rescale: Rescale = "none"


@dataclass(frozen=True)
class ReadOptions:
    """What a reader may be asked for. Every format takes what concerns it.

    Args:
        window: see `parse_windows`; ``file`` takes each DICOM file's own. ``None`` scales by the bit depth.
        assume_hu: take the numbers for HU where the file does not say so.
        frames: which frames of a DICOM or TIFF file, which slices of a NIfTI volume; ``mask``, for volumes only, is the
            one in which a second volume marks the largest area.
        axis: the direction in which a NIfTI volume is cut.
        spacing: resample a NIfTI volume to voxels of so many millimetres in all directions.
        max_pixels: refuse a file that says it holds more, before room is made for them.
        mask_label: the number in a mask that counts, for ``frames="mask"``; ``None`` counts all that are not 0.

    Raises:
        ValueError: an unknown window, frames or axis, a spacing or a limit that is not positive, a label of the mask
            that is 0 or is asked for without ``frames="mask"``.
    """

    window: Windows = None
    assume_hu: bool = False
    frames: Frames = "middle"
    axis: Axis = "axial"
    spacing: float | None = None
    max_pixels: int = 1 << 28
    mask_label: int | None = None

    def __post_init__(self) -> None:
        for key, known in (("frames", get_args(Frames)), ("axis", get_args(Axis))):
            if (value := getattr(self, key)) not in known:
                raise ValueError(f"unknown {key}={value!r}; use one of {', '.join(known)}")
        for key in ("spacing", "max_pixels"):
            if (number := getattr(self, key)) is not None and not number > 0:
                raise ValueError(f"{key}={number}; it must be above 0")
        if self.mask_label is not None and (self.mask_label == 0 or self.frames != "mask"):
            raise ValueError(
                f"mask_label={self.mask_label}, frames={self.frames!r}; it is for frames='mask', and 0 is unmarked"
            )
        parse_windows(self.window)

    @property
    def slice_options(self) -> str:
        """Which slices of a NIfTI volume are read, for cards."""
        if self.frames == "mask":
            what = "the mask" if self.mask_label is None else f"label {self.mask_label} of the mask"
            return f"{self.axis} slice of 3D volumes in which {what} has its largest area"
        return f"{self.frames} {self.axis} slice{'s' * (self.frames == 'all')} of 3D volumes"

    def choose(self, count: int) -> list[int]:
        """The numbers of the ones among so many frames or slices that are chosen by their place."""
        return {"middle": [count // 2], "first": [0], "all": list(range(count))}[self.frames]


def check_pixel_count(name: str, size: tuple[int, ...], max_pixels: int) -> None:
    """Refuse a size that is absurd, before memory is asked for: a header can say anything.

    Raises:
        Unreadable: no pixels, or more than the limit.
    """
    count = int(np.prod([int(edge) for edge in size], dtype=object))
    said = " x ".join(str(edge) for edge in size)
    if count < 1:
        raise UnreadableFile(f"cannot read {name}: it says it holds {said} pixels; get the file again")
    if count > max_pixels:
        raise UnreadableFile(
            f"cannot read {name}: it says it holds {said} pixels, more than max_pixels={max_pixels}; raise max_pixels "
            "if that is true"
        )


def to_unit_range(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float32]:
    """Numbers of a fixed range to [0, 1], clipped: ``(values - low) / (high - low)``."""
    return np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into `Unreadable`, and keep what it says to itself.

    Warnings and exceptions of decoders quote header values and absolute paths, which belong in no log.

    Raises:
        Unreadable: the file is damaged.
        OSError: the disk or the rights are at fault; it names the file only.
    """
    loggers = [logging.getLogger(talker) for talker in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableFile, InvalidReadOption, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_THE_FILES_FAULT:
            raise type(error)(error.errno, f"cannot read {name}: {error.strerror}") from None
        if isinstance(error, FileNotFoundError):
            raise UnreadableFile(
                f"cannot read {name}: there is no such file; check the list or bring it back"
            ) from None
        raise UnreadableFile(
            f"cannot read {name}: it is truncated, damaged, or of a kind the decoder lacks; get the file again"
        ) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
