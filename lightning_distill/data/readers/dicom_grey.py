"""Transform stored grey DICOM values: modality transform, window, inversion, fixed range."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.readers.base import (
    EIGHT_BIT,
    InvalidReadOption,
    ReadOptions,
    Rescale,
    UnreadableFile,
    describe_bits,
    to_unit_range,
)
from lightning_distill.data.readers.dicom_lut import Inputs, LookupTable, read_table
from lightning_distill.data.readers.windows import Window, describe, parse_windows

if TYPE_CHECKING:
    from pydicom import Dataset


class ModalityTransform(NamedTuple):
    """Transform of the stored numbers: ``slope * stored + intercept``, or a table.

    Args:
        slope: Slope of the transform.
        intercept: Intercept of the transform.
        low: Smallest value that the stored type can become; NaN for floats.
        high: Largest value that the stored type can become; NaN for floats.
        hounsfield: Whether the file declares the result to be in HU.
        table: Lookup table that replaces slope and intercept.
    """

    slope: float
    intercept: float
    low: float
    high: float
    hounsfield: bool
    table: LookupTable | None = None

    def apply(self, stored: Array) -> NDArray[np.float64]:
        """Transform stored numbers."""
        if self.table is not None:
            return self.table.apply(stored).astype(np.float64)
        return stored.astype(np.float64) * self.slope + self.intercept


def read_grey(stored: Array, ds: Dataset, frame: int, options: ReadOptions, name: str) -> tuple[Array, str]:
    """Transform a grey frame to a fixed range.

    Args:
        stored: Stored numbers ``(H, W)``.
        ds: Data set of the file.
        frame: Number of the frame in the file.
        options: Read options; ``window`` and ``assume_hu`` apply.
        name: Name of the file in error messages.

    Returns:
        Pixels ``(H, W)``, or ``(H, W, C)`` for several windows, and their scale.

    Raises:
        UnreadableFile: The pixels, the rescale tags or a lookup table are damaged.
        InvalidReadOption: The window does not fit the file.
    """
    inverted = ds.PhotometricInterpretation == "MONOCHROME1"
    modality, windows = _modality(ds, frame, name), parse_windows(options.window)
    if options.window is None and modality[:4] == (1.0, 0.0, 0.0, 255.0) and modality.table is None:
        pixels = stored.astype(np.uint8)
        return (255 - pixels if inverted else pixels), EIGHT_BIT
    values = modality.apply(stored)
    if not np.isfinite(values).all():
        raise UnreadableFile(f"cannot read {name}: it has NaN or infinite pixels; replace them by finite numbers")
    if options.window == "file":
        unit, scale = _own_window(values, modality, ds, frame, name), "the window each file names, as 0 to 1"
    elif windows:
        _check_hounsfield(windows, modality.hounsfield or options.assume_hu, name)
        channels = [to_unit_range(values, window.low, window.high) for window in windows]
        unit = channels[0] if len(channels) == 1 else np.stack(channels, -1)
        scale = describe(windows)
    else:
        if not modality.low < modality.high:
            raise InvalidReadOption(
                f"{name} stores floats or constants, which have no fixed range; give window=(center, width)"
            )
        unit = to_unit_range(values, modality.low, modality.high)
        scale = describe_bits(int(ds.BitsStored), modality.low, modality.high)
    return (1 - unit if inverted else unit), scale


def stored_inputs(ds: Dataset) -> Inputs:
    """Return the range of the stored integers, by BitsStored and PixelRepresentation."""
    depth, signed = int(ds.BitsStored), bool(ds.PixelRepresentation)
    low, high = (-(2.0 ** (depth - 1)), 2.0 ** (depth - 1) - 1) if signed else (0.0, 2.0**depth - 1)
    return Inputs(low, high, signed)


def rescale_kind(ds: Dataset, frame: int) -> Rescale:
    """Classify the rescale tags of a frame."""
    group = _group(ds, "PixelValueTransformationSequence", frame)
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    if ds.get("ModalityLUTSequence"):
        return "other"
    if slope is None or intercept is None:
        return "absent"
    return "identity" if (float(slope), float(intercept)) == (1, 0) else "other"


def _modality(ds: Dataset, frame: int, name: str) -> ModalityTransform:
    if ds.get("ModalityLUTSequence"):
        item = ds.ModalityLUTSequence[0]
        table = read_table(item, stored_inputs(ds), name, source=ds)
        return ModalityTransform(1.0, 0.0, 0.0, table.high, str(item.get("ModalityLUTType")) == "HU", table)
    group = _group(ds, "PixelValueTransformationSequence", frame)
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    has_rescale = slope is not None and intercept is not None
    hounsfield = has_rescale and ds.get("Modality") == "CT" and str(group.get("RescaleType") or "HU") == "HU"
    by, plus = (1.0 if number is None else float(number) for number in (slope, 0.0 if intercept is None else intercept))
    if not (np.isfinite(by) and np.isfinite(plus)):
        raise UnreadableFile(f"cannot read {name}: its rescale slope or intercept is not finite; correct the tags")
    if "PixelData" not in ds:  # floats
        return ModalityTransform(by, plus, np.nan, np.nan, hounsfield)
    inputs = stored_inputs(ds)
    low, high = sorted(by * end + plus for end in (inputs.low, inputs.high))
    return ModalityTransform(by, plus, low, high, hounsfield)


def _own_window(
    values: NDArray[np.float64], modality: ModalityTransform, ds: Dataset, frame: int, name: str
) -> NDArray[np.float32]:
    """Apply the first VOI LUT of the file, else its first window."""
    group = _group(ds, "FrameVOILUTSequence", frame)
    if group.get("VOILUTSequence"):
        signed = modality.table is None and (modality.low < 0 or modality.hounsfield)  # PS3.3 C.11.2.1.1
        table = read_table(group.VOILUTSequence[0], Inputs(modality.low, modality.high, signed), name, source=ds)
        return to_unit_range(table.apply(values).astype(np.float64), 0, table.high)
    if group.get("WindowCenter") is None or group.get("WindowWidth") is None:
        raise InvalidReadOption(f"{name} contains no window; give window=(center, width), or a named window for CT")
    center, width = (float(np.ravel(np.asarray(group[key].value, float))[0]) for key in ("WindowCenter", "WindowWidth"))
    function = str(group.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InvalidReadOption(
            f"{name} has a VOILUTFunction other than LINEAR, LINEAR_EXACT and SIGMOID; give window=(center, width)"
        )
    if not (np.isfinite(center) and np.isfinite(width)) or width <= 0 or (function == "LINEAR" and width < 1):
        least = "at least 1, as LINEAR needs" if function == "LINEAR" else "above 0"
        raise InvalidReadOption(f"the window in {name} has a width that is not {least}; give window=(center, width)")
    if function == "SIGMOID":
        return (1 / (1 + np.exp(-4 * (values - center) / width))).astype(np.float32)
    if function == "LINEAR":  # PS3.3 C.11.2.1.2.1: the width counts integers, both ends included
        center, width = center - 0.5, width - 1
    if width <= 0:
        return (values > center).astype(np.float32)
    return to_unit_range(values, center - width / 2, center + width / 2)


def _group(ds: Dataset, sequence: str, frame: int) -> Dataset:
    """Return the functional group of a frame, else the shared functional group, else the data set itself."""
    for groups, number in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = ds.get(groups) or []
        if number < len(items) and items[number].get(sequence):
            group: Dataset = items[number][sequence].value[0]
            return group
    return ds


def _check_hounsfield(windows: list[Window], hounsfield: bool, name: str) -> None:
    named = [window.name for window in windows if window.name]
    if named and not hounsfield:
        raise InvalidReadOption(
            f"window={named[0]!r} is in HU, and {name} does not declare HU (a CT file with rescale slope and intercept "
            "does); give window=(center, width) in the stored unit, or set assume_hu=True"
        )
