"""NIfTI: a volume turned upright, cut into slices, put on a fixed range."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightning_distill.data.readers.base import EIGHT_BIT, DecodedImage, InvalidReadOption, ReadOptions, to_unit_range
from lightning_distill.data.readers.mask import largest_mask_slice
from lightning_distill.data.readers.volume import cut_volume, load_volume
from lightning_distill.data.readers.windows import Window, describe, parse_windows


def read_nifti(path: Path, options: ReadOptions, name: str, mask: Path | None = None) -> DecodedImage:
    """Read slices of a NIfTI volume. Use it through `read_image`, which translates what decoders raise.

    The volume is turned to the closest of the axes right, anterior, superior. A slice is then laid out as a DICOM
    viewer shows it: axial and coronal ones with the patient's right at the left edge, anterior or superior at the
    top; sagittal ones with anterior at the left edge. The first slice is the most superior, anterior or right one.

    Args:
        path: the file.
        options: all concern NIfTI; ``frames`` chooses slices along ``axis``.
        name: what errors call it.
        mask: a second NIfTI file that marks voxels of this one, for ``frames="mask"``.

    Returns:
        uint8 where the file holds uint8 without scaling and no window is given, else float32 in [0, 1] by the window,
        or by what the stored integers can become; ``(slices, H, W)`` or, with several windows, ``(slices, H, W, C)``.

    Raises:
        Unreadable: too many voxels, NaN or infinite ones, voxels that begin absurdly far into the file, a mask that
            marks nothing or does not fit the volume.
        Refused: not three dimensions, floats without a window, a named window without ``assume_hu``, no mask where one
            is asked for.
        MissingExtra: nibabel is not installed.
    """
    windows = parse_windows(options.window)
    _check_windows(windows, options, name)
    if options.frames == "mask" and mask is None:
        raise InvalidReadOption(
            f"{name} comes without a mask, and frames='mask' needs one; name it, or use frames='middle'"
        )
    volume = load_volume(path, options.max_pixels, name)
    low, high = (windows[0].low, windows[0].high) if windows else (volume.low, volume.high)
    if not low < high:
        raise InvalidReadOption(f"{name} holds floats, which have no range of their own; give window=(center, width)")
    black = min((window.low for window in windows), default=low)
    slices = cut_volume(volume, options, black, name)  # (slices, H, W)
    marked = largest_mask_slice(mask, volume, options, name) if options.frames == "mask" and mask is not None else None
    slices = slices[options.choose(len(slices)) if marked is None else [marked]]
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
        raise InvalidReadOption(f"{name} names no window, NIfTI files never do; give window=(center, width)")
    named = [window.name for window in windows if window.name]
    if named and not options.assume_hu:
        raise InvalidReadOption(
            f"window={named[0]!r} is in HU, and {name} cannot say whether its numbers are, NIfTI files never do; "
            "assume_hu=True says so, or give window=(center, width) in its own numbers"
        )
