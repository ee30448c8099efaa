"""A NIfTI volume: loaded, turned upright, cut into slices."""

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

#: Bytes before the voxels: a header of 540 and extensions, which are text. What says more is damaged, or meant to fill
#: memory when it is unpacked. Behind the voxels nothing is expected, and no more than that looked at.
_MOST_BEFORE = _MOST_BEHIND = 1 << 24
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


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


def load_volume(path: Path, max_pixels: int, name: str) -> Volume:
    """One volume of numbers.

    Args:
        path: the file.
        max_pixels: voxels it may hold.
        name: what errors call it.

    Raises:
        Unreadable: too many voxels, NaN or infinite ones, voxels that begin absurdly far into the file.
        OSError, EOFError: a packed file that is cut short, or whose checksum is another.
        Refused: not three dimensions, or not one number a voxel.
        MissingExtra: nibabel is not installed.
    """
    _check_offset(path, name)
    image = import_optional("nibabel", "NIfTI files").load(path)
    shape = tuple(int(edge) for edge in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InvalidReadOption(
            f"{name} is {' x '.join(map(str, shape))}, not one volume; write each volume to a file of its own"
        )
    check_pixel_count(name, shape, max_pixels)
    stored = image.get_data_dtype()
    if stored.kind not in "iuf":
        raise InvalidReadOption(f"{name} holds {stored} voxels, not one number each; write grey volumes")
    _check_sum(path, math.prod(shape) * stored.itemsize)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    values = np.asanyarray(image.dataobj).astype(np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise UnreadableFile(f"cannot read {name}: it holds NaN or infinite voxels; write a number there")
    low = high = np.nan
    if stored.kind in "iu":
        ends = np.iinfo(stored)
        low, high = sorted((slope * ends.min + intercept, slope * ends.max + intercept))
    return Volume(values, image.affine, 8 * stored.itemsize, low, high)


def _check_offset(path: Path, name: str) -> None:
    """Refuse a file whose voxels begin absurdly far away: all before them would be unpacked, extensions into memory."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        header = file.read(540)
    for order in "<>":
        for size, place, kind in ((348, 108, "f"), (540, 168, "q")):  # NIfTI-1 and NIfTI-2
            if len(header) >= size and struct.unpack_from(f"{order}i", header)[0] == size:
                begin = struct.unpack_from(order + kind, header, place)[0]
                if not 0 <= begin <= _MOST_BEFORE:
                    raise UnreadableFile(
                        f"cannot read {name}: it says its voxels begin at byte {begin:g}; get it again"
                    )


def _check_sum(path: Path, size: int) -> None:
    """Read a packed file through to its checksum: nibabel stops at the last voxel, and never gets to see it.

    Args:
        path: the file; one that is not packed has no checksum.
        size: bytes of all voxels.

    Raises:
        OSError, EOFError: it is another, or the file is cut short.
    """
    if not path.name.lower().endswith(".gz"):
        return
    left = _MOST_BEFORE + size + _MOST_BEHIND
    with gzip.open(path) as file:
        while left > 0 and (part := file.read(1 << 20)):
            left -= len(part)


def cut_volume(volume: Volume, options: ReadOptions, black: float, name: str) -> NDArray[np.float64]:
    """All slices ``(slices, H, W)`` along ``options.axis``, laid out as `read_nifti` says.

    Args:
        volume: as it is stored.
        options: ``axis``, ``spacing`` and ``max_pixels``.
        black: what lies outside a volume that is turned while it is resampled.
        name: what errors call it.

    Raises:
        Unreadable: the resampled volume would have too many voxels.
    """
    turned = _turn(volume, options, black, name)[::-1, ::-1, ::-1]  # to left, posterior, inferior
    return np.moveaxis(turned, _AXES[options.axis], 0).swapaxes(1, 2)


def _turn(volume: Volume, options: ReadOptions, black: float, name: str) -> NDArray[np.float64]:
    """The values with axes to the right, anterior and superior, in cubes of ``spacing`` where that is given."""
    nib = import_optional("nibabel", "NIfTI files")
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.values, volume.affine))
    if options.spacing is not None:
        lengths = zip(image.shape, nib.affines.voxel_sizes(image.affine), strict=True)
        edges = tuple(round(edge * size / options.spacing) + 1 for edge, size in lengths)
        check_pixel_count(name, edges, options.max_pixels)
        resample = import_optional("nibabel.processing", "NIfTI files").resample_to_output
        image = resample(image, [options.spacing] * 3, order=1, cval=black)  # black where there was nothing
    values: NDArray[np.float64] = np.asanyarray(image.dataobj)
    return values
