"""Where a mask marks most: the slice of a volume that shows what somebody has outlined."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.medmnist.slices import argmax_near_middle
from lightning_distill.data.readers.base import InvalidReadOption, ReadOptions, UnreadableFile, decoding
from lightning_distill.data.readers.optional_deps import import_optional
from lightning_distill.data.readers.volume import Volume, cut_volume, load_volume

_SHOWN = 10  # labels in a message
_NEAR = 0.1  # of a voxel's shortest edge: writers round a header's numbers, other grids are further off


def largest_mask_slice(path: Path, volume: Volume, options: ReadOptions, name: str) -> int:
    """The number of the slice in which a mask has its largest area; of equal ones that nearest to the middle.

    Whatever is not 0 is marked, or what is ``options.mask_label``. A volume that is resampled has its mask resampled
    with it, to shares of marked voxels.

    Args:
        path: a NIfTI file on the volume's own grid.
        volume: what it is the mask of.
        options: what is done to the volume.
        name: what errors call the volume.

    Raises:
        Unreadable: a damaged mask, one that marks nothing or has other labels, or one of another shape or place than
            the volume.
    """
    called = f"the mask of {name}"
    try:
        with decoding(called):
            mask = load_volume(path, options.max_pixels, called)
    except InvalidReadOption as error:  # the mask is at fault, not what was asked for
        raise UnreadableFile(f"cannot read {name}: {error}") from None
    _check_grid(mask, volume, name)
    if not mask.values.any():
        raise UnreadableFile(f"cannot read {name}: its mask marks no voxel; outline something, or drop the row")
    chosen = _chosen(mask, options.mask_label, name)
    marked = volume._replace(values=chosen.astype(np.float64))
    areas = cut_volume(marked, options, 0.0, called).sum((1, 2))
    if not areas.any():
        raise UnreadableFile(
            f"cannot read {name}: its mask falls between the voxels of spacing={options.spacing}; give a smaller one"
        )
    return argmax_near_middle(areas)


def _chosen(mask: Volume, label: int | None, name: str) -> NDArray[np.bool_]:
    """The voxels that count, ``(X, Y, Z)``; labels may come as floats that a header's scale has moved a little."""
    if label is None:
        return np.asarray(mask.values != 0)
    chosen = np.abs(mask.values - label) < 0.5
    if not chosen.any():
        there = [int(number) for number in np.unique(np.rint(mask.values)) if number]
        said = ", ".join(map(str, there[:_SHOWN])) + ", ..." * (len(there) > _SHOWN) or "fractions"
        raise UnreadableFile(f"cannot read {name}: its mask has no label {label}, only {said}; ask for one of these")
    return chosen


def _check_grid(mask: Volume, volume: Volume, name: str) -> None:
    """Refuse a mask whose voxels are not those of the volume."""
    ours, theirs = (" x ".join(map(str, of.values.shape)) for of in (volume, mask))
    if ours != theirs:
        raise UnreadableFile(
            f"cannot read {name}: its mask is {theirs} voxels, the volume {ours}; draw it on the volume"
        )
    ends = ((0, edge - 1) for edge in volume.values.shape)
    corners = np.array([(*corner, 1) for corner in itertools.product(*ends)])  # (8, 4)
    apart = float(np.abs((mask.affine - volume.affine) @ corners.T)[:3].max())
    edge = float(import_optional("nibabel", "NIfTI files").affines.voxel_sizes(volume.affine).min())
    if not apart <= _NEAR * edge:
        raise UnreadableFile(
            f"cannot read {name}: its mask lies up to {apart:.2f} mm beside the volume (their affines differ); "
            "resample it to the volume"
        )
