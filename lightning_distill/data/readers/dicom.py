"""Read DICOM pixels: stored value, modality transform, window, inversion, fixed range. Other tags are not read."""

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
    Reader,
    ReadOptions,
    Rescale,
    UnreadableFile,
    check_pixel_count,
    to_unit_range,
    translate_decoder_errors,
)
from lightning_distill.data.readers.dicom_detect import has_preamble, is_headerless
from lightning_distill.data.readers.dicom_open import (
    check_decoder,
    check_inflated,
    check_packing,
    open_dicom,
    set_default_syntax,
)
from lightning_distill.data.readers.optional_deps import import_optional
from lightning_distill.data.readers.windows import Window, describe, parse_windows

if TYPE_CHECKING:
    from pydicom import Dataset

#: The only tags that are read besides the meta group: no names, dates or vendor tags.
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
    """Linear transform of the stored numbers: ``slope * stored + intercept``.

    Args:
        slope: Slope of the transform.
        intercept: Intercept of the transform.
        low: Smallest value that the stored type can become; NaN for floats.
        high: Largest value that the stored type can become; NaN for floats.
        hounsfield: Whether the file declares the result to be in HU.
    """

    slope: float
    intercept: float
    low: float
    high: float
    hounsfield: bool


def read_dicom(path: Path, options: ReadOptions, name: str, mask: Path | None = None) -> DecodedImage:
    """Read a DICOM file on a fixed scale. Call it through `read_image`, which translates the exceptions of decoders.

    Grey pixels are processed in the order of PS3.3: stored value, modality LUT (rescale or table), window, inversion
    of MONOCHROME1, fixed range. The range is ``center - width / 2`` to ``center + width / 2`` of the window; for
    ``file`` the output range of the first VOI LUT or window in the file; without a window the range of BitsStored and
    PixelRepresentation after the modality transform. It never depends on the pixel values. Colour becomes RGB and is
    divided by its largest storable value. Eight unsigned bits without rescale and window stay uint8.

    An uncompressed file without preamble or meta header is read if `is_headerless` recognises it.

    Args:
        path: Path of the file.
        options: Read options; ``window``, ``assume_hu``, ``frames`` and ``max_pixels`` apply.
        name: Name of the file in error messages.
        mask: Ignored; only volumes have masks.

    Returns:
        Image ``(frames, H, W)``, or ``(frames, H, W, C)`` for colour (3 channels) and several windows (one channel
        each), uint8 or float32 in [0, 1].

    Raises:
        UnreadableFile: The file has no pixels, too many pixels, or pixels packed against the standard.
        InvalidReadOption: A window in HU is given for other units, floats have no window, or colour has a window.
        MissingExtraError: pydicom or a decoder is not installed.

    Reference: NEMA, DICOM PS3.3, sections C.7.6.3, C.11.1 and C.11.2.
    """
    check_inflated(path, options.max_pixels, name)
    ds, decoders = open_dicom(path, name, specific_tags=list(TAGS)), import_optional("pydicom.pixels", "DICOM files")
    if not any(keyword in ds for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableFile(
            f"cannot read {name}: it contains no pixels; remove reports and structure sets, or re-export a truncated "
            "file"
        )
    photometric = str(ds.PhotometricInterpretation)
    if photometric not in _KINDS:
        raise InvalidReadOption(
            f"{name} has an unsupported photometric interpretation; convert it to MONOCHROME2 or RGB"
        )
    set_default_syntax(ds, name)
    check_packing(ds, 3 if _KINDS[photometric] == "colour" and photometric != "PALETTE COLOR" else 1, name)
    check_decoder(ds, name)
    count = int(ds.get("NumberOfFrames") or 1)
    frame_count = count if options.frames == "all" else min(count, 1)
    check_pixel_count(name, (frame_count, int(ds.Rows), int(ds.Columns), int(ds.SamplesPerPixel)), options.max_pixels)
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
            f"{name} has frames with different scales; give window=(center, width) or frames='middle'"
        )
    multiple_windows = len(parse_windows(options.window)) > 1
    kind: Kind = "windows" if multiple_windows else _KINDS[photometric]
    return DecodedImage(np.stack(frames), scales.pop(), kind, "none" if options.assume_hu else _rescale(ds, chosen[0]))


def patient_of(path: Path, salt: bytes, name: str) -> int:
    """Return a salted hash of the patient identifier, equal for all DICOM files of one patient.

    Args:
        path: Path of the file; only PatientID and its issuer are read.
        salt: Random bytes, equal for all files of one run and not stored.
        name: Name of the file in error messages.

    Raises:
        UnreadableFile: The file is damaged.
        InvalidReadOption: The file has no PatientID.
    """
    with translate_decoder_errors(name):
        tags = ["PatientID", "IssuerOfPatientID"]
        ds = open_dicom(path, name, stop_before_pixels=True, specific_tags=tags)
        if not (patient := str(ds.get("PatientID") or "").strip()):
            raise InvalidReadOption(f"{name} has no PatientID; give a table with a patient column, or remove groups")
        issuer = str(ds.get("IssuerOfPatientID") or "").strip()
        return int.from_bytes(hashlib.sha256(salt + f"{issuer}\0{patient}".encode()).digest(), "big")


def _colour(stored: Array, depth: int, options: ReadOptions, name: str) -> tuple[Array, str]:
    if options.window is not None:
        raise InvalidReadOption(f"{name} is a colour image and window= needs grey images; remove window")
    if depth == 8:
        return stored, EIGHT_BIT
    return to_unit_range(stored.astype(np.float64), 0, 2.0**depth - 1), _bits(depth, 0, 2.0**depth - 1)


def _grey(stored: Array, ds: Dataset, frame: int, options: ReadOptions, name: str) -> tuple[Array, str]:
    inverted = ds.PhotometricInterpretation == "MONOCHROME1"
    modality, windows = _modality(ds, frame, name), parse_windows(options.window)
    unscaled = modality[:4] == (1.0, 0.0, 0.0, 255.0) and "ModalityLUTSequence" not in ds
    if unscaled and options.window is None:
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
                f"{name} stores floats or constants, which have no fixed range; give window=(center, width)"
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
    has_rescale = slope is not None and intercept is not None
    hounsfield = has_rescale and ds.get("Modality") == "CT" and str(group.get("RescaleType") or "HU") == "HU"
    by, plus = (1.0 if number is None else float(number) for number in (slope, 0.0 if intercept is None else intercept))
    if not (np.isfinite(by) and np.isfinite(plus)):
        raise UnreadableFile(f"cannot read {name}: its rescale slope or intercept is not finite; correct the tags")
    if "PixelData" not in ds:  # floats
        return ModalityTransform(by, plus, np.nan, np.nan, hounsfield)
    depth = int(ds.BitsStored)
    ends = (-(2.0 ** (depth - 1)), 2.0 ** (depth - 1) - 1) if ds.PixelRepresentation else (0.0, 2.0**depth - 1)
    low, high = sorted(by * end + plus for end in ends)
    return ModalityTransform(by, plus, low, high, hounsfield)


def _rescale(ds: Dataset, frame: int) -> Rescale:
    """Classify the rescale tags of a frame."""
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
        raise InvalidReadOption(f"{name} contains no window; give window=(center, width), or a named window for CT")
    center, width = (float(np.ravel(np.asarray(group[key].value, float))[0]) for key in ("WindowCenter", "WindowWidth"))
    function = str(group.get("VOILUTFunction") or "LINEAR")
    if not width > 0:
        raise InvalidReadOption(f"the window in {name} has a width that is not above 0; give window=(center, width)")
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


def _bits(depth: int, low: float, high: float) -> str:
    return f"{depth} bit, {low:.10g} to {high:.10g} as 0 to 1"


def _detect(path: Path) -> bool:
    """Recognise a DICOM file by its content; a DICOMDIR is an index without pixels."""
    return path.name.lower() != "dicomdir" and (has_preamble(path) or is_headerless(path))


READER = Reader((".dcm", ".dicom"), read_dicom, detect=_detect)
