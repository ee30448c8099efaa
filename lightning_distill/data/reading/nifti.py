"""NIfTI: a volume turned upright, cut into slices, put on a fixed range."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.reading.extra import need
from lightning_distill.data.reading.picture import (
    EIGHT_BIT,
    Picture,
    ReadOptions,
    Refused,
    Unreadable,
    as_unit,
    check_room,
)
from lightning_distill.data.reading.windows import Window, describe, parse_windows

#: Bytes before the voxels: a header of 540 and extensions, which are text. What says more is damaged, or meant to fill
#: memory when it is unpacked.
_MOST_BEFORE = 1 << 24
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def read_nifti(path: Path, options: ReadOptions, name: str) -> Picture:
    """Read slices of a NIfTI volume. Use it through `read_image`, which translates what decoders raise.

    The volume is turned to the closest of the axes right, anterior, superior. A slice is then laid out as a DICOM
    viewer shows it: axial and coronal ones with the patient's right at the left edge, anterior or superior at the
    top; sagittal ones with anterior at the left edge. The first slice is the most superior, anterior or right one.

    Args:
        path: the file.
        options: all concern NIfTI; ``frames`` chooses slices along ``axis``.
        name: what errors call it.

    Returns:
        uint8 where the file holds uint8 without scaling and no window is given, else float32 in [0, 1] by the window,
        or by what the stored integers can become; ``(slices, H, W)`` or, with several windows, ``(slices, H, W, C)``.

    Raises:
        Unreadable: too many voxels, NaN or infinite ones, voxels that begin absurdly far into the file.
        Refused: not three dimensions, floats without a window, a named window without ``assume_hu``.
        MissingExtra: nibabel is not installed.
    """
    windows = parse_windows(options.window)
    _check_windows(windows, options, name)
    volume = _load(path, options.max_pixels, name)
    low, high = (windows[0].low, windows[0].high) if windows else (volume.low, volume.high)
    if not low < high:
        raise Refused(f"{name} holds floats, which have no range of their own; give window=(center, width)")
    black = min((window.low for window in windows), default=low)
    turned = _turn(volume, options, black, name)[::-1, ::-1, ::-1]  # to left, posterior, inferior
    slices = np.moveaxis(turned, _AXES[options.axis], 0).swapaxes(1, 2)  # (slices, H, W)
    slices = slices[options.choose(len(slices))]
    if not windows and (volume.bits, low, high) == (8, 0.0, 255.0):
        return Picture(np.rint(slices).astype(np.uint8), EIGHT_BIT, "grey")
    if not windows:
        return Picture(as_unit(slices, low, high), f"{volume.bits} bit, {low:.10g} to {high:.10g} as 0 to 1", "grey")
    channels = [as_unit(slices, window.low, window.high) for window in windows]
    if len(channels) == 1:
        return Picture(channels[0], describe(windows), "grey")
    return Picture(np.stack(channels, -1), describe(windows), "windows")


class Volume(NamedTuple):
    """A volume as it is stored.

    Args:
        values: ``(X, Y, Z)`` after the file's own scaling.
        affine: ``(4, 4)`` voxel to millimetres.
        bits: of a stored voxel.
        low: smallest value the stored integers can become; NaN for floats.
        high: largest.
    """

    values: NDArray[np.float64]
    affine: NDArray[np.float64]
    bits: int
    low: float
    high: float


def _check_offset(path: Path, name: str) -> None:
    """Refuse a file whose voxels begin absurdly far away: all before them would be unpacked, extensions into memory."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        header = file.read(540)
    for order in "<>":
        for size, place, kind in ((348, 108, "f"), (540, 168, "q")):  # NIfTI-1 and NIfTI-2
            if len(header) >= size and struct.unpack_from(f"{order}i", header)[0] == size:
                begin = struct.unpack_from(order + kind, header, place)[0]
                if not 0 <= begin <= _MOST_BEFORE:
                    raise Unreadable(f"cannot read {name}: it says its voxels begin at byte {begin:g}; get it again")


def _load(path: Path, max_pixels: int, name: str) -> Volume:
    _check_offset(path, name)
    image = need("nibabel", "NIfTI files").load(path)
    shape = tuple(int(edge) for edge in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise Refused(
            f"{name} is {' x '.join(map(str, shape))}, not one volume; write each volume to a file of its own"
        )
    check_room(name, shape, max_pixels)
    stored = image.get_data_dtype()
    if stored.kind not in "iuf":
        raise Refused(f"{name} holds {stored} voxels, not one number each; write grey volumes")
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    values = np.asanyarray(image.dataobj).astype(np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise Unreadable(f"cannot read {name}: it holds NaN or infinite voxels; write a number there")
    low = high = np.nan
    if stored.kind in "iu":
        ends = np.iinfo(stored)
        low, high = sorted((slope * ends.min + intercept, slope * ends.max + intercept))
    return Volume(values, image.affine, 8 * stored.itemsize, low, high)


def _turn(volume: Volume, options: ReadOptions, black: float, name: str) -> NDArray[np.float64]:
    """The values with axes to the right, anterior and superior, in cubes of ``spacing`` where that is given."""
    nib = need("nibabel", "NIfTI files")
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.values, volume.affine))
    if options.spacing is not None:
        lengths = zip(image.shape, nib.affines.voxel_sizes(image.affine), strict=True)
        edges = tuple(round(edge * size / options.spacing) + 1 for edge, size in lengths)
        check_room(name, edges, options.max_pixels)
        resample = need("nibabel.processing", "NIfTI files").resample_to_output
        image = resample(image, [options.spacing] * 3, order=1, cval=black)  # black where there was nothing
    values: NDArray[np.float64] = np.asanyarray(image.dataobj)
    return values


def _check_windows(windows: list[Window], options: ReadOptions, name: str) -> None:
    if options.window == "file":
        raise Refused(f"{name} names no window, NIfTI files never do; give window=(center, width)")
    named = [window.name for window in windows if window.name]
    if named and not options.assume_hu:
        raise Refused(
            f"window={named[0]!r} is in HU, and {name} cannot say whether its numbers are, NIfTI files never do; "
            "assume_hu=True says so, or give window=(center, width) in its own numbers"
        )
