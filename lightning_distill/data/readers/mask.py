"""Find the slice of a volume in which its mask has the largest area."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.medmnist.slices import argmax_near_middle
from lightning_distill.data.readers.base import InvalidReadOption, ReadOptions, UnreadableFile, translate_decoder_errors
from lightning_distill.data.readers.optional_deps import import_optional
from lightning_distill.data.readers.volume import Volume, cut_volume, load_volume

_MAX_LABELS = 10  # labels listed in an error message
_TOLERANCE = 0.1  # tolerance as a fraction of the shortest voxel edge, for rounded header values


def largest_mask_slice(path: Path, volume: Volume, options: ReadOptions, name: str) -> int:
    """Return the number of the slice in which a mask has its largest area; ties take the slice nearest to the middle.

    Marked voxels equal ``options.mask_label``, or are not 0 if no label is given. If the volume is resampled, the mask
    is resampled with it, to fractions of marked voxels.

    Args:
        path: Path of a NIfTI file on the grid of the volume.
        volume: Volume that the mask belongs to.
        options: Read options of the volume.
        name: Name of the volume in error messages.

    Raises:
        UnreadableFile: The mask is damaged, marks no voxel, lacks the label, or has another shape or position than
            the volume.
    """
    mask_name = f"the mask of {name}"
    try:
        with translate_decoder_errors(mask_name):
            mask = load_volume(path, options.max_pixels, mask_name)
    except InvalidReadOption as error:  # the mask is damaged, the options are valid
        raise UnreadableFile(f"cannot read {name}: {error}") from None
    _check_grid(mask, volume, name)
    if not mask.values.any():
        raise UnreadableFile(f"cannot read {name}: its mask marks no voxel; correct the mask, or remove the row")
    marked = volume._replace(values=_marked_voxels(mask, options.mask_label, name).astype(np.float64))
    areas = cut_volume(marked, options, 0.0, mask_name).sum((1, 2))
    if not areas.any():
        raise UnreadableFile(
            f"cannot read {name}: its mask falls between the voxels of spacing={options.spacing}; give a smaller "
            "spacing"
        )
    return argmax_near_middle(areas)


def _marked_voxels(mask: Volume, label: int | None, name: str) -> NDArray[np.bool_]:
    """Return the marked voxels ``(X, Y, Z)``. Labels match within 0.5, as headers may scale them."""
    if label is None:
        return np.asarray(mask.values != 0)
    marked: NDArray[np.bool_] = np.abs(mask.values - label) < 0.5
    if not marked.any():
        present = [int(number) for number in np.unique(np.rint(mask.values)) if number]
        labels = ", ".join(map(str, present[:_MAX_LABELS])) + ", ..." * (len(present) > _MAX_LABELS) or "fractions"
        raise UnreadableFile(
            f"cannot read {name}: its mask has no label {label}, only {labels}; set mask_label to one of these"
        )
    return marked


def _check_grid(mask: Volume, volume: Volume, name: str) -> None:
    """Refuse a mask with another shape or voxel grid than the volume."""
    volume_shape, mask_shape = (" x ".join(map(str, grid.values.shape)) for grid in (volume, mask))
    if volume_shape != mask_shape:
        raise UnreadableFile(
            f"cannot read {name}: its mask has {mask_shape} voxels, the volume {volume_shape}; resample the mask to "
            "the volume"
        )
    ends = ((0, edge - 1) for edge in volume.values.shape)
    corners = np.array([(*corner, 1) for corner in itertools.product(*ends)])  # (8, 4)
    distance = float(np.abs((mask.affine - volume.affine) @ corners.T)[:3].max())
    edge = float(import_optional("nibabel", "NIfTI files").affines.voxel_sizes(volume.affine).min())
    if not distance <= _TOLERANCE * edge:
        raise UnreadableFile(
            f"cannot read {name}: its mask is displaced by up to {distance:.2f} mm (the affines differ); resample the "
            "mask to the volume"
        )
