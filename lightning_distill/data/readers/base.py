"""The `Reader` interface of a file format, its options, its result and its two errors."""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

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

#: Errors of the disk, the permissions or the memory: the file itself may be intact.
_SYSTEM_ERRORS = {
    errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip
_DECODER_LOGGERS = ("pydicom", "nibabel", "nibabel.global", "PIL")


class UnreadableFile(ValueError):
    """Error of a missing, truncated, damaged or unsupported file. ``on_error="skip"`` leaves such a file out."""


class InvalidReadOption(ValueError):
    """Error of an intact file that cannot be read with the given options. It is never skipped."""


@dataclass(frozen=True)
class DecodedImage:
    """Pixels of one file on an intensity scale that does not depend on the pixel values.

    Args:
        pixels: Array ``(frames, H, W)`` or ``(frames, H, W, C)``, uint8 as stored or float32 in [0, 1].
        scale: Meaning of the pixel values, e.g. ``8 bit, 0 to 255``. All files of a data set must have the same scale.
        kind: Kind of the pixels: grey, grey stored inverted (MONOCHROME1), colour, or one channel per window.
        rescale: Rescale tags of a DICOM file: ``absent``, ``identity`` or ``other``; ``none`` for other formats and
            where ``assume_hu`` is set.
    """

    pixels: Array
    scale: str
    kind: Kind
    rescale: Rescale = "none"


@dataclass(frozen=True)
class ReadOptions:
    """Options of the file readers. Each format uses the options that apply to it.

    Args:
        window: Intensity window of DICOM and NIfTI files: ``lung``, ``abdomen``, ``brain``, ``subdural`` or ``bone``
            (in HU), ``(center, width)``, a list of these (one channel each), or ``file`` for the window in each DICOM
            file. ``None`` scales by the bit depth.
        assume_hu: Treat the stored numbers as HU if the file does not declare their unit.
        frames: Selected frames of a DICOM file, pages of a TIFF file or slices of a NIfTI volume: ``middle``,
            ``first``, ``all``, or (volumes only) ``mask`` for the slice in which a mask volume has its largest area.
        axis: Slicing direction of NIfTI volumes: ``axial``, ``coronal`` or ``sagittal``.
        spacing: Voxel edge in millimetres that NIfTI volumes are resampled to; ``None`` keeps the stored voxels.
        max_pixels: Largest number of pixels or voxels of one file. A file with a larger size in its header is refused
            before memory is allocated.
        mask_label: Label in the mask volumes that ``frames="mask"`` uses, e.g. 2 for the tumours of a liver data set.
            ``None`` uses all voxels that are not 0.

    Raises:
        ValueError: The window, frames or axis is unknown, the spacing or pixel limit is not positive, or the mask
            label is 0 or is given without ``frames="mask"``.

    Example:
        >>> ReadOptions(window=["lung", (40, 80)], frames="all").axis
        'axial'
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
                f"mask_label={self.mask_label}, frames={self.frames!r}; mask_label must not be 0 and needs "
                "frames='mask'"
            )
        parse_windows(self.window)

    @property
    def slice_options(self) -> str:
        """Description of the selected slices of a volume, for cards."""
        if self.frames == "mask":
            mask = "the mask" if self.mask_label is None else f"label {self.mask_label} of the mask"
            return f"{self.axis} slice of 3D volumes in which {mask} has its largest area"
        return f"{self.frames} {self.axis} slice{'s' * (self.frames == 'all')} of 3D volumes"

    def choose(self, count: int) -> list[int]:
        """Select frame or slice numbers by their position.

        Args:
            count: Number of frames or slices in the file.
        """
        return {"middle": [count // 2], "first": [0], "all": list(range(count))}[self.frames]


class ReadFunction(Protocol):
    """Function that decodes one file."""

    def __call__(self, path: Path, options: ReadOptions, name: str, mask: Path | None = None) -> DecodedImage:
        """Read a file.

        Args:
            path: Path of the file.
            options: Options of all readers.
            name: Name of the file in error messages.
            mask: Path of the mask of a volume, for ``frames="mask"``; readers of other files ignore it.

        Raises:
            UnreadableFile: The file is damaged. Exceptions of a decoder become this error outside of the reader.
            InvalidReadOption: The file cannot be read with these options.
        """


def never(path: Path) -> bool:
    """Return False for every path: the format is recognised by its suffixes only."""
    return False


@dataclass(frozen=True)
class Reader:
    """A file format. A new format is one module with a `Reader` and one entry in `dispatch.READERS`.

    Args:
        suffixes: Lower-case file name endings of the format, with the dot.
        read: Function that decodes a file to a `DecodedImage`.
        detect: Function that recognises a file by its content, called if no reader has the suffix of the file.
        is_volume: Whether files of this format are volumes that are cut into slices and may have a mask.

    Example:
        >>> import numpy as np
        >>> def read_npy(path, options, name, mask=None):
        ...     return DecodedImage(np.load(path)[None], "8 bit, 0 to 255", "grey")
        >>> Reader((".npy",), read_npy).matches("scan.NPY")
        True
    """

    suffixes: tuple[str, ...]
    read: ReadFunction
    detect: Callable[[Path], bool] = never
    is_volume: bool = False

    def matches(self, name: str) -> bool:
        """Return whether a file name has a suffix of this format, in upper or lower case."""
        return name.lower().endswith(self.suffixes)


def check_pixel_count(name: str, size: tuple[int, ...], max_pixels: int) -> None:
    """Validate the size in a file header before memory is allocated.

    Args:
        name: Name of the file in error messages.
        size: Edge lengths in pixels, channels and frames included.
        max_pixels: Largest allowed product of the edge lengths.

    Raises:
        UnreadableFile: The size is zero, negative or above the limit.
    """
    count = int(np.prod([int(edge) for edge in size], dtype=object))
    shape = " x ".join(str(edge) for edge in size)
    if count < 1:
        raise UnreadableFile(f"cannot read {name}: its header declares {shape} pixels; re-export the file")
    if count > max_pixels:
        raise UnreadableFile(
            f"cannot read {name}: its header declares {shape} pixels, more than max_pixels={max_pixels}; raise "
            "max_pixels if the size is correct"
        )


def to_unit_range(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float32]:
    """Scale numbers from a fixed range to [0, 1] and clip: ``(values - low) / (high - low)``."""
    return np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)


def describe_bits(bits: int, low: float, high: float) -> str:
    """Describe the intensity scale of pixels on the range of their stored type, for cards."""
    return f"{bits} bit, {low:.10g} to {high:.10g} as 0 to 1"


@contextmanager
def translate_decoder_errors(name: str) -> Iterator[None]:
    """Turn the exceptions of a decoder into `UnreadableFile` and silence its warnings and log messages.

    Messages of decoders quote header values and absolute paths, which must not reach a log.

    Args:
        name: Name of the file in error messages.

    Raises:
        UnreadableFile: The file is missing or damaged.
        OSError: The disk or the permissions failed; the message contains `name` only.
    """
    loggers = [logging.getLogger(logger) for logger in _DECODER_LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableFile, InvalidReadOption, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # a decoder in Rust panics with a BaseException of its own; Ctrl-C and the like go on
        if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
            raise type(error)(error.errno, f"cannot read {name}: {error.strerror}") from None
        if isinstance(error, FileNotFoundError):
            raise UnreadableFile(f"cannot read {name}: there is no such file; correct the path") from None
        raise UnreadableFile(
            f"cannot read {name}: it is truncated, damaged or in an unsupported encoding; re-export the file"
        ) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
