"""Open DICOM files and validate their packing, transfer syntax and unpacked size before pixels are decoded."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_distill.data.readers.base import InvalidReadOption, UnreadableFile
from lightning_distill.data.readers.dicom_detect import DEFLATED, has_preamble, is_deflated, is_headerless
from lightning_distill.data.readers.optional_deps import import_optional

if TYPE_CHECKING:
    from pydicom import FileDataset

_META = 144  # offset of the meta group: preamble, prefix and group length element
_BYTES, _HEADER = 4, 1 << 24  # limits of a deflated file: bytes per pixel, bytes of all other elements


def check_inflated(path: Path, max_pixels: int, name: str) -> None:
    """Refuse a deflated file that unpacks to more bytes than ``max_pixels`` allows, before it is read into memory.

    Args:
        path: Path of the file.
        max_pixels: Largest allowed number of pixels.
        name: Name of the file in error messages.

    Raises:
        UnreadableFile: The unpacked file is too large.
    """
    if not has_preamble(path):
        return
    meta = import_optional("pydicom.filereader", "DICOM files").read_file_meta_info(path)
    if str(meta.get("TransferSyntaxUID")) != DEFLATED:
        return
    with path.open("rb") as file:
        file.seek(_META + int(meta.FileMetaInformationGroupLength))
        inflate, size, most = zlib.decompressobj(-zlib.MAX_WBITS), 0, _BYTES * max_pixels + _HEADER
        while packed := file.read(1 << 20):
            while packed:
                size += len(inflate.decompress(packed, 1 << 22))
                packed = inflate.unconsumed_tail
                if size > most:
                    raise UnreadableFile(
                        f"cannot read {name}: it unpacks to more than {most} bytes, the limit for "
                        f"max_pixels={max_pixels}; "
                        "raise max_pixels if the size is correct"
                    )


def open_dicom(path: Path, name: str, **options: object) -> FileDataset:
    """Open a DICOM file with or without preamble.

    Args:
        path: Path of the file.
        name: Name of the file in error messages.
        **options: Keyword arguments of ``pydicom.dcmread``.

    Raises:
        UnreadableFile: The file is not DICOM, or it is deflated and has no preamble.
    """
    if not (has_preamble(path) or is_headerless(path)):
        raise UnreadableFile(f"cannot read {name}: it is not a DICOM file; re-export it with a meta header")
    if not has_preamble(path) and is_deflated(path):
        raise UnreadableFile(f"cannot read {name}: it is deflated and has no preamble; re-export it with a preamble")
    ds: FileDataset = import_optional("pydicom", "DICOM files").dcmread(path, force=True, **options)
    return ds


def set_default_syntax(ds: FileDataset, name: str) -> None:
    """Set the uncompressed transfer syntax that pydicom detected, if the meta header does not contain one.

    Args:
        ds: Data set with its pixels.
        name: Name of the file in error messages.

    Raises:
        InvalidReadOption: The pixels are compressed and their transfer syntax is unknown.
    """
    if "TransferSyntaxUID" in ds.file_meta:
        return
    if "PixelData" in ds and ds["PixelData"].is_undefined_length:
        raise InvalidReadOption(
            f"{name} is compressed and has no meta header with its transfer syntax; re-export it with a meta header"
        )
    uids, (implicit, little) = import_optional("pydicom.uid", "DICOM files"), ds.original_encoding
    syntax = uids.ImplicitVRLittleEndian if implicit else uids.ExplicitVRLittleEndian
    ds.file_meta.TransferSyntaxUID = syntax if little else uids.ExplicitVRBigEndian


def check_packing(ds: FileDataset, samples: int, name: str) -> None:
    """Validate that the pixels are packed as the decoders expect.

    Args:
        ds: Data set with its pixels.
        samples: Samples per pixel of its photometric interpretation.
        name: Name of the file in error messages.

    Raises:
        UnreadableFile: SamplesPerPixel differs, or the stored bits do not begin at the lowest bit (older files).
    """
    if int(ds.SamplesPerPixel) != samples:
        raise UnreadableFile(
            f"cannot read {name}: SamplesPerPixel is inconsistent with PhotometricInterpretation; re-export the file"
        )
    high, stored = ds.get("HighBit"), ds.get("BitsStored")
    if high is not None and stored is not None and int(high) >= int(stored):  # not checked by pydicom
        raise UnreadableFile(
            f"cannot read {name}: its stored bits do not begin at the lowest bit; re-export it with HighBit = "
            "BitsStored - 1"
        )


def check_decoder(ds: FileDataset, name: str) -> None:
    """Validate that a decoder for the transfer syntax is installed.

    Args:
        ds: Data set with its transfer syntax.
        name: Name of the file in error messages.

    Raises:
        InvalidReadOption: No installed decoder supports the transfer syntax.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    if not import_optional("pydicom.pixels", "DICOM files").get_decoder(syntax).is_available:
        raise InvalidReadOption(
            f"{name} is compressed as {syntax.name}; to decode it: pip install 'lightning-distill[dicom]'"
        )
