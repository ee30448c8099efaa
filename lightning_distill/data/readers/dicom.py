"""DICOM: stored pixel, modality, window, inversion, fixed range, in this order, and nothing else of the header."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.readers.base import (
    EIGHT_BIT,
    INVERTED,
    DecodedImage,
    InvalidReadOption,
    Kind,
    ReadOptions,
    Rescale,
    UnreadableFile,
    check_pixel_count,
    decoding,
    to_unit_range,
)
from lightning_distill.data.readers.dicom_open import (
    check_decoder,
    check_inflated,
    check_packing,
    open_dicom,
    settle_syntax,
)
from lightning_distill.data.readers.optional_deps import import_optional
from lightning_distill.data.readers.windows import Window, describe, parse_windows

if TYPE_CHECKING:
    from pydicom import Dataset

#: All that is asked of a file beside its meta group; names, dates and vendors' own tags are passed over.
TAGS = [
    "Modality", "PhotometricInterpretation", "SamplesPerPixel", "PlanarConfiguration", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope",
    "RescaleType", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelData", "FloatPixelData", "DoubleFloatPixelData",
]  # fmt: skip
_KINDS: dict[str, Kind] = {
    "MONOCHROME1": INVERTED,
    "MONOCHROME2": "grey",
    **dict.fromkeys(("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"), "colour"),
}


class ModalityTransform(NamedTuple):
    """What a file's stored numbers become.

    Args:
        slope: of ``slope * stored + intercept``.
        intercept: the same.
        low: smallest number the stored type can become; NaN for floats, which have no such number.
        high: largest.
        hounsfield: whether the file says that this gives HU.
    """

    slope: float
    intercept: float
    low: float
    high: float
    hounsfield: bool


def read_dicom(path: Path, options: ReadOptions, name: str) -> DecodedImage:
    """Read a DICOM file on a fixed scale. Use it through `read_image`, which translates what decoders raise.

    Grey pixels go the way of PS3.3: stored value, modality LUT (rescale or table), window, inversion of MONOCHROME1,
    and last the range. The range is the window's ``center - width / 2`` to ``center + width / 2``; for ``file`` what
    the file's first VOI LUT or window makes of it; without a window what BitsStored and PixelRepresentation can hold,
    taken through the modality: never what the picture happens to hold. Colour becomes RGB and is divided by its
    largest storable value. Eight unsigned bits without rescale and window stay uint8.

    A file without preamble or meta header is read where it begins as a data set does (`is_bare`), uncompressed.

    Args:
        path: the file.
        options: ``window``, ``assume_hu``, ``frames`` and ``max_pixels`` concern DICOM.
        name: what errors call it.

    Returns:
        uint8 or float32 in [0, 1]; ``(frames, H, W)``, ``(frames, H, W, 3)``, or a channel a window.

    Raises:
        Unreadable: no picture inside, too many pixels, or ones that are packed as the standard forbids.
        Refused: a window in HU for numbers that are not, floats without a window, a window for colour.
        MissingExtra: pydicom or a decoder is not installed.
    """
    check_inflated(path, options.max_pixels, name)
    ds, decoders = open_dicom(path, name, specific_tags=list(TAGS)), import_optional("pydicom.pixels", "DICOM files")
    if not any(keyword in ds for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableFile(
            f"cannot read {name}: it holds no picture; leave out reports and structures, or get the file again if it "
            "was cut short"
        )
    photometric = str(ds.PhotometricInterpretation)
    if photometric not in _KINDS:
        raise InvalidReadOption(
            f"{name} has a photometric interpretation that is not read; convert it to MONOCHROME2 or RGB"
        )
    settle_syntax(ds, name)
    check_packing(ds, 3 if _KINDS[photometric] == "colour" and photometric != "PALETTE COLOR" else 1, name)
    check_decoder(ds, name)
    count = int(ds.get("NumberOfFrames") or 1)
    wanted = count if options.frames == "all" else min(count, 1)
    check_pixel_count(name, (wanted, int(ds.Rows), int(ds.Columns), int(ds.SamplesPerPixel)), options.max_pixels)
    chosen = options.choose(count)
    frames, scales = [], set()
    for number, stored in zip(chosen, decoders.iter_pixels(ds, indices=chosen), strict=True):
        if _KINDS[photometric] == "colour":
            depth = int(ds.BitsStored)
            if photometric == "PALETTE COLOR":
                stored = decoders.apply_color_lut(stored, ds)
                depth = 8 * stored.dtype.itemsize
            pixels, scale = _colour(stored, depth, options, name)
        else:
            pixels, scale = _grey(stored, ds, number, options, name)
        frames.append(pixels)
        scales.add(scale)
    if len(scales) > 1:
        raise InvalidReadOption(
            f"{name} has frames of several scales; give window=(center, width) for one, or frames='middle'"
        )
    several = len(parse_windows(options.window)) > 1
    kind: Kind = "windows" if several else _KINDS[photometric]
    return DecodedImage(np.stack(frames), scales.pop(), kind, "none" if options.assume_hu else _rescale(ds, chosen[0]))


def patient_of(path: Path, salt: bytes, name: str) -> int:
    """A number that is equal for two DICOM files of one patient, and says nothing else without the salt.

    Args:
        path: the file; only PatientID and its issuer are read.
        salt: random bytes, the same for all files, forgotten afterwards.
        name: what errors call the file.

    Raises:
        Unreadable: the file is damaged.
        Refused: it has no PatientID.
    """
    with decoding(name):
        wanted = ["PatientID", "IssuerOfPatientID"]
        ds = open_dicom(path, name, stop_before_pixels=True, specific_tags=wanted)
        if not (patient := str(ds.get("PatientID") or "").strip()):
            raise InvalidReadOption(f"{name} has no PatientID; give a table with a patient column, or leave groups out")
        issuer = str(ds.get("IssuerOfPatientID") or "").strip()
        return int.from_bytes(hashlib.sha256(salt + f"{issuer}\0{patient}".encode()).digest(), "big")


def _colour(stored: Array, depth: int, options: ReadOptions, name: str) -> tuple[Array, str]:
    if options.window is not None:
        raise InvalidReadOption(f"{name} is in colour, and windows are for grey pictures; leave window out")
    if depth == 8:
        return stored, EIGHT_BIT
    return to_unit_range(stored.astype(np.float64), 0, 2.0**depth - 1), _bits(depth, 0, 2.0**depth - 1)


def _grey(stored: Array, ds: Dataset, frame: int, options: ReadOptions, name: str) -> tuple[Array, str]:
    inverted = ds.PhotometricInterpretation == "MONOCHROME1"
    modality, windows = _modality(ds, frame, name), parse_windows(options.window)
    plain = modality[:4] == (1.0, 0.0, 0.0, 255.0) and "ModalityLUTSequence" not in ds
    if plain and options.window is None:
        pixels = stored.astype(np.uint8)
        return (255 - pixels if inverted else pixels), EIGHT_BIT
    if "ModalityLUTSequence" in ds:
        values = import_optional("pydicom.pixels", "DICOM files").apply_modality_lut(stored, ds).astype(np.float64)
    else:
        values = stored.astype(np.float64) * modality.slope + modality.intercept
    if options.window == "file":
        unit, scale = _own_window(values, ds, frame, name), "the window each file names, as 0 to 1"
    elif windows:
        _check_hounsfield(windows, modality.hounsfield or options.assume_hu, name)
        channels = [to_unit_range(values, window.low, window.high) for window in windows]
        unit = channels[0] if len(channels) == 1 else np.stack(channels, -1)
        scale = describe(windows)
    else:
        if not modality.low < modality.high:
            raise InvalidReadOption(
                f"{name} holds floats or constants, which have no range of their own; give window=(center, width)"
            )
        unit = to_unit_range(values, modality.low, modality.high)
        scale = _bits(int(ds.BitsStored), modality.low, modality.high)
    return (1 - unit if inverted else unit), scale


def _modality(ds: Dataset, frame: int, name: str) -> ModalityTransform:
    if "ModalityLUTSequence" in ds:
        table = ds.ModalityLUTSequence[0]
        depth = int(table.LUTDescriptor[2])
        return ModalityTransform(1.0, 0.0, 0.0, 2.0**depth - 1, str(table.get("ModalityLUTType")) == "HU")
    group = _group(ds, "PixelValueTransformationSequence", frame)
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    given = slope is not None and intercept is not None
    hounsfield = given and ds.get("Modality") == "CT" and str(group.get("RescaleType") or "HU") == "HU"
    by, plus = (1.0 if number is None else float(number) for number in (slope, 0.0 if intercept is None else intercept))
    if not (np.isfinite(by) and np.isfinite(plus)):
        raise UnreadableFile(f"cannot read {name}: its rescale slope or intercept is not finite; get the file again")
    if "PixelData" not in ds:  # floats
        return ModalityTransform(by, plus, np.nan, np.nan, hounsfield)
    depth = int(ds.BitsStored)
    ends = (-(2.0 ** (depth - 1)), 2.0 ** (depth - 1) - 1) if ds.PixelRepresentation else (0.0, 2.0**depth - 1)
    low, high = sorted(by * end + plus for end in ends)
    return ModalityTransform(by, plus, low, high, hounsfield)


def _rescale(ds: Dataset, frame: int) -> Rescale:
    """Whether the file says what its stored numbers become."""
    group = _group(ds, "PixelValueTransformationSequence", frame)
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    if "ModalityLUTSequence" in ds:
        return "other"
    if slope is None or intercept is None:
        return "absent"
    return "identity" if (float(slope), float(intercept)) == (1, 0) else "other"


def _own_window(values: NDArray[np.float64], ds: Dataset, frame: int, name: str) -> NDArray[np.float32]:
    if ds.get("VOILUTSequence"):
        depth = int(ds.VOILUTSequence[0].LUTDescriptor[2])
        table = import_optional("pydicom.pixels", "DICOM files").apply_voi
        return to_unit_range(table(np.rint(values).astype(np.int64), ds, 0).astype(np.float64), 0, 2.0**depth - 1)
    group = _group(ds, "FrameVOILUTSequence", frame)
    if group.get("WindowCenter") is None or group.get("WindowWidth") is None:
        raise InvalidReadOption(
            f"{name} names no window of its own; give window=(center, width), or a named one for CT"
        )
    center, width = (float(np.ravel(np.asarray(group[key].value, float))[0]) for key in ("WindowCenter", "WindowWidth"))
    function = str(group.get("VOILUTFunction") or "LINEAR")
    if not width > 0:
        raise InvalidReadOption(f"{name} names a window whose width is not above 0; give window=(center, width)")
    if function == "SIGMOID":
        return (1 / (1 + np.exp(-4 * (values - center) / width))).astype(np.float32)
    if function == "LINEAR":  # PS3.3 C.11.2.1.2.1: the width counts whole numbers, both ends with it
        center, width = center - 0.5, width - 1
    if width <= 0:
        return (values > center).astype(np.float32)
    return to_unit_range(values, center - width / 2, center + width / 2)


def _group(ds: Dataset, sequence: str, frame: int) -> Dataset:
    """What holds for a frame: its own functional group, else the shared one, else the file itself."""
    for groups, number in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = ds.get(groups) or []
        if number < len(items) and items[number].get(sequence):
            found: Dataset = items[number][sequence].value[0]
            return found
    return ds


def _check_hounsfield(windows: list[Window], hounsfield: bool, name: str) -> None:
    named = [window.name for window in windows if window.name]
    if named and not hounsfield:
        raise InvalidReadOption(
            f"window={named[0]!r} is in HU, and {name} does not say that its numbers are: a CT file with rescale slope "
            "and intercept does; give window=(center, width) in its own numbers, or assume_hu=True"
        )


def _bits(depth: int, low: float, high: float) -> str:
    return f"{depth} bit, {low:.10g} to {high:.10g} as 0 to 1"
