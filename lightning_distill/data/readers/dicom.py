"""Read DICOM pixels: stored value, modality transform, window, inversion, fixed range. Other tags are not read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.readers.base import (
    EIGHT_BIT,
    INVERTED,
    DecodedImage,
    InvalidReadOption,
    Kind,
    Reader,
    ReadOptions,
    UnreadableFile,
    check_pixel_count,
    describe_bits,
    to_unit_range,
    translate_decoder_errors,
)
from lightning_distill.data.readers.dicom_detect import has_preamble, is_headerless
from lightning_distill.data.readers.dicom_grey import read_grey, rescale_kind, stored_inputs
from lightning_distill.data.readers.dicom_lut import read_table
from lightning_distill.data.readers.dicom_open import (
    check_decoder,
    check_inflated,
    check_packing,
    open_dicom,
    set_default_syntax,
)
from lightning_distill.data.readers.optional_deps import import_optional
from lightning_distill.data.readers.windows import parse_windows

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
            pixels, scale = _colour(stored, ds, options, name)
        else:
            pixels, scale = read_grey(stored, ds, number, options, name)
        frames.append(pixels)
        scales.add(scale)
    if len(scales) > 1:
        raise InvalidReadOption(
            f"{name} has frames with different scales; give window=(center, width) or frames='middle'"
        )
    multiple_windows = len(parse_windows(options.window)) > 1
    kind: Kind = "windows" if multiple_windows else _KINDS[photometric]
    rescale = "none" if options.assume_hu else rescale_kind(ds, chosen[0])
    return DecodedImage(np.stack(frames), scales.pop(), kind, rescale)


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


def _colour(stored: Array, ds: Dataset, options: ReadOptions, name: str) -> tuple[Array, str]:
    """Return RGB pixels ``(H, W, 3)`` and their scale."""
    if options.window is not None:
        raise InvalidReadOption(f"{name} is a colour image and window= needs grey images; remove window")
    depth = int(ds.BitsStored)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        prefixes = [f"{channel}PaletteColorLookupTable" for channel in ("Red", "Green", "Blue")]
        tables = [read_table(ds, stored_inputs(ds), name, prefix) for prefix in prefixes]
        if len({table.bits for table in tables}) > 1:
            raise UnreadableFile(f"cannot read {name}: its palettes differ in their bits; re-export the file")
        depth = tables[0].bits
        stored = np.stack([table.apply(stored) for table in tables], -1)
    if depth == 8:
        return stored.astype(np.uint8), EIGHT_BIT
    return to_unit_range(stored.astype(np.float64), 0, 2.0**depth - 1), describe_bits(depth, 0, 2.0**depth - 1)


def _detect(path: Path) -> bool:
    """Recognise a DICOM file by its content; a DICOMDIR is an index without pixels."""
    return path.name.lower() != "dicomdir" and (has_preamble(path) or is_headerless(path))


READER = Reader((".dcm", ".dicom"), read_dicom, detect=_detect)
