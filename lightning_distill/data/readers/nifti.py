"""Read slices of NIfTI volumes in radiological orientation on a fixed intensity scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightning_distill.data.readers.base import (
    EIGHT_BIT,
    DecodedImage,
    InvalidReadOption,
    Reader,
    ReadOptions,
    to_unit_range,
)
from lightning_distill.data.readers.mask import largest_mask_slice
from lightning_distill.data.readers.volume import cut_volume, load_volume
from lightning_distill.data.readers.windows import Window, describe, parse_windows


def read_nifti(path: Path, options: ReadOptions, name: str, mask: Path | None = None) -> DecodedImage:
    """Read slices of a NIfTI volume. Call it through `read_image`, which translates the exceptions of decoders.

    The volume is reoriented to the closest of the axes right, anterior, superior. Slices have the orientation of a
    DICOM viewer: axial and coronal slices have the patient's right at the left edge and anterior or superior at the
    top; sagittal slices have anterior at the left edge. The first slice is the most superior, anterior or right one.

    Args:
        path: Path of the file.
        options: Read options; all of them apply to NIfTI. ``frames`` selects slices along ``axis``.
        name: Name of the file in error messages.
        mask: Path of a second NIfTI file that marks voxels of this volume, for ``frames="mask"``.

    Returns:
        Image ``(slices, H, W)``, or ``(slices, H, W, C)`` with several windows. The dtype is uint8 if the file stores
        uint8 without scaling and no window is given, else float32 in [0, 1], scaled by the window or by the range of
        the stored integer type.

    Raises:
        UnreadableFile: The volume has too many voxels or NaN or infinite voxels, its voxels begin too far into the
            file, or the mask is empty or does not fit the volume.
        InvalidReadOption: The volume is not three-dimensional, stores floats and no window is given, a named window
            is given without ``assume_hu``, or the mask is missing.
        MissingExtraError: nibabel is not installed.
    """
    windows = parse_windows(options.window)
    _check_windows(windows, options, name)
    if options.frames == "mask" and mask is None:
        raise InvalidReadOption(f"{name} has no mask and frames='mask' needs one; give a mask, or use frames='middle'")
    volume = load_volume(path, options.max_pixels, name)
    low, high = (windows[0].low, windows[0].high) if windows else (volume.low, volume.high)
    if not low < high:
        raise InvalidReadOption(f"{name} stores floats, which have no fixed range; give window=(center, width)")
    background = min((window.low for window in windows), default=low)
    slices = cut_volume(volume, options, background, name)  # (slices, H, W)
    mask_slice = (
        largest_mask_slice(mask, volume, options, name) if options.frames == "mask" and mask is not None else None
    )
    slices = slices[options.choose(len(slices)) if mask_slice is None else [mask_slice]]
    if not windows and (volume.bits, low, high) == (8, 0.0, 255.0):
        return DecodedImage(np.rint(slices).astype(np.uint8), EIGHT_BIT, "grey")
    if not windows:
        return DecodedImage(
            to_unit_range(slices, low, high), f"{volume.bits} bit, {low:.10g} to {high:.10g} as 0 to 1", "grey"
        )
    channels = [to_unit_range(slices, window.low, window.high) for window in windows]
    if len(channels) == 1:
        return DecodedImage(channels[0], describe(windows), "grey")
    return DecodedImage(np.stack(channels, -1), describe(windows), "windows")


def _check_windows(windows: list[Window], options: ReadOptions, name: str) -> None:
    if options.window == "file":
        raise InvalidReadOption(f"window='file' needs DICOM files, {name} is NIfTI; give window=(center, width)")
    named = [window.name for window in windows if window.name]
    if named and not options.assume_hu:
        raise InvalidReadOption(
            f"window={named[0]!r} is in HU, and {name} is a NIfTI file, which does not declare its unit; set "
            "assume_hu=True, or give window=(center, width) in the stored unit"
        )


READER = Reader((".nii", ".nii.gz"), read_nifti, is_volume=True)
