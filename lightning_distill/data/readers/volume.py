"""Load NIfTI volumes, reorient them and cut them into slices."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.readers.base import InvalidReadOption, ReadOptions, UnreadableFile, check_pixel_count
from lightning_distill.data.readers.optional_deps import import_optional

#: Largest number of bytes before the voxels (header and extensions) and of bytes read after them. A larger offset means
#: a damaged file or a decompression bomb.
_MOST_BEFORE = _MOST_BEHIND = 1 << 24
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


class Volume(NamedTuple):
    """Volume in its stored orientation.

    Args:
        values: Voxels ``(X, Y, Z)`` after the scaling in the file header.
        affine: Matrix ``(4, 4)`` from voxel indices to millimetres.
        bits: Bits per stored voxel.
        low: Smallest value that the stored integer type can become; NaN for floats.
        high: Largest value that the stored integer type can become; NaN for floats.
    """

    values: NDArray[np.float64]
    affine: NDArray[np.float64]
    bits: int
    low: float
    high: float


def load_volume(path: Path, max_pixels: int, name: str) -> Volume:
    """Load a three-dimensional NIfTI volume.

    Args:
        path: Path of the file.
        max_pixels: Largest allowed number of voxels.
        name: Name of the file in error messages.

    Raises:
        UnreadableFile: The volume has too many voxels or NaN or infinite voxels, or its voxels begin too far into
            the file.
        OSError: The checksum of a gzip file is wrong.
        EOFError: A gzip file is truncated.
        InvalidReadOption: The volume is not three-dimensional, or a voxel is not one number.
        MissingExtraError: nibabel is not installed.
    """
    _check_offset(path, name)
    image = import_optional("nibabel", "NIfTI files").load(path)
    shape = tuple(int(edge) for edge in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) < 3:
        raise InvalidReadOption(
            f"{name} has {' x '.join(map(str, shape))} voxels, one image and not a volume; store it with the shape "
            f"{' x '.join(map(str, (*shape, 1)))}, or as PNG"
        )
    if len(shape) != 3:
        raise InvalidReadOption(
            f"{name} has {' x '.join(map(str, shape))} voxels, {math.prod(shape[3:])} volumes and not one; write each "
            "volume to its own file"
        )
    check_pixel_count(name, shape, max_pixels)
    stored = image.get_data_dtype()
    if stored.kind not in "iuf":
        raise InvalidReadOption(f"{name} has {stored} voxels, not one number each; convert it to a grey volume")
    _check_crc(path, math.prod(shape) * stored.itemsize)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    values = np.asanyarray(image.dataobj).astype(np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise UnreadableFile(f"cannot read {name}: it has NaN or infinite voxels; replace them by finite numbers")
    low = high = np.nan
    if stored.kind in "iu":
        ends = np.iinfo(stored)
        low, high = sorted((slope * ends.min + intercept, slope * ends.max + intercept))
    return Volume(values, image.affine, 8 * stored.itemsize, low, high)


def _check_offset(path: Path, name: str) -> None:
    """Refuse a file with voxels that begin too far into it: everything before them would be unpacked into memory."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        header = file.read(540)
    for order in "<>":
        for size, place, kind in ((348, 108, "f"), (540, 168, "q")):  # NIfTI-1 and NIfTI-2
            if len(header) >= size and struct.unpack_from(f"{order}i", header)[0] == size:
                begin = struct.unpack_from(order + kind, header, place)[0]
                if not 0 <= begin <= _MOST_BEFORE:
                    raise UnreadableFile(
                        f"cannot read {name}: its header places the voxels at byte {begin:g}; re-export the file"
                    )


def _check_crc(path: Path, size: int) -> None:
    """Read a gzip file to its checksum, since nibabel stops at the last voxel.

    Args:
        path: Path of the file; other than gzip files are not read.
        size: Number of bytes of all voxels.

    Raises:
        OSError: The checksum is wrong.
        EOFError: The file is truncated.
    """
    if not path.name.lower().endswith(".gz"):
        return
    left = _MOST_BEFORE + size + _MOST_BEHIND
    with gzip.open(path) as file:
        while left > 0 and (part := file.read(1 << 20)):
            left -= len(part)


def cut_volume(volume: Volume, options: ReadOptions, background: float, name: str) -> NDArray[np.float64]:
    """Return all slices ``(slices, H, W)`` along ``options.axis`` in the orientation of `read_nifti`.

    Args:
        volume: Volume in its stored orientation.
        options: Read options; ``axis``, ``spacing`` and ``max_pixels`` apply.
        background: Value outside the stored volume, where resampling rotates it.
        name: Name of the file in error messages.

    Raises:
        UnreadableFile: The resampled volume would have too many voxels.
    """
    upright = _reorient(volume, options, background, name)[::-1, ::-1, ::-1]  # to left, posterior, inferior
    return np.moveaxis(upright, _AXES[options.axis], 0).swapaxes(1, 2)


def _reorient(volume: Volume, options: ReadOptions, background: float, name: str) -> NDArray[np.float64]:
    """Return the voxels with axes to the right, anterior and superior, resampled to cubes of ``spacing`` if given."""
    nib = import_optional("nibabel", "NIfTI files")
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.values, volume.affine))
    if options.spacing is not None:
        lengths = zip(image.shape, nib.affines.voxel_sizes(image.affine), strict=True)
        edges = tuple(round(edge * size / options.spacing) + 1 for edge, size in lengths)
        check_pixel_count(name, edges, options.max_pixels)
        resample = import_optional("nibabel.processing", "NIfTI files").resample_to_output
        image = resample(image, [options.spacing] * 3, order=1, cval=background)
    values: NDArray[np.float64] = np.asanyarray(image.dataobj)
    return values
