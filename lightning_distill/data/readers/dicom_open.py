"""How a DICOM file is opened: what is none, how its pixels are packed, what of that is refused before reading."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_distill.data.readers.base import InvalidReadOption, UnreadableFile
from lightning_distill.data.readers.dicom_detect import DEFLATED, has_preamble, is_deflated, is_headerless
from lightning_distill.data.readers.optional_deps import import_optional

if TYPE_CHECKING:
    from pydicom import FileDataset

_META = 144  # preamble, mark and the length of the group itself
_BYTES, _HEADER = 4, 1 << 24  # of a pixel, and of all that is not pixels, where a file is deflated as a whole


def check_inflated(path: Path, max_pixels: int, name: str) -> None:
    """Refuse a deflated file that unpacks to more than its pixels can be, before it is unpacked into memory.

    Raises:
        Unreadable: it does.
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
                        f"cannot read {name}: it unpacks to more than {most} bytes, room for max_pixels={max_pixels}; "
                        "raise max_pixels if that is true"
                    )


def open_dicom(path: Path, name: str, **options: object) -> FileDataset:
    """The data set of a file that has DICOM's mark, or begins as only a data set does.

    Raises:
        Unreadable: any other file.
    """
    if not (has_preamble(path) or is_headerless(path)):
        raise UnreadableFile(
            f"cannot read {name}: it is not marked as DICOM and does not begin as a data set does; get the file again, "
            "or export it with a meta header"
        )
    if not has_preamble(path) and is_deflated(path):
        raise UnreadableFile(f"cannot read {name}: it is deflated and has no preamble; export it again with one")
    ds: FileDataset = import_optional("pydicom", "DICOM files").dcmread(path, force=True, **options)
    return ds


def settle_syntax(ds: FileDataset, name: str) -> None:
    """Where no meta header names the transfer syntax, it is the plain one that the file was read by.

    Raises:
        Refused: compressed pixels, which nothing then says how to decode.
    """
    if "TransferSyntaxUID" in ds.file_meta:
        return
    if "PixelData" in ds and ds["PixelData"].is_undefined_length:
        raise InvalidReadOption(
            f"{name} is compressed, and without a meta header nobody knows how; export it again with one"
        )
    uids, (implicit, little) = import_optional("pydicom.uid", "DICOM files"), ds.original_encoding
    plain = uids.ImplicitVRLittleEndian if implicit else uids.ExplicitVRLittleEndian
    ds.file_meta.TransferSyntaxUID = plain if little else uids.ExplicitVRBigEndian


def check_packing(ds: FileDataset, samples: int, name: str) -> None:
    """Whether the numbers of the pixels lie in the file as the decoders take it.

    Args:
        ds: with its pixels.
        samples: numbers a pixel that its photometric interpretation has.
        name: what errors call the file.

    Raises:
        Unreadable: other samples a pixel, or numbers that do not begin at their lowest bit, as older files have them.
    """
    if int(ds.SamplesPerPixel) != samples:
        raise UnreadableFile(
            f"cannot read {name}: its samples a pixel do not go with its photometric interpretation; get the file again"
        )
    high, stored = ds.get("HighBit"), ds.get("BitsStored")
    if high is not None and stored is not None and int(high) >= int(stored):  # pydicom does not look
        raise UnreadableFile(
            f"cannot read {name}: its stored bits do not begin at the lowest one, as today's standard wants them; "
            "export it again with a high bit of bits stored - 1"
        )


def check_decoder(ds: FileDataset, name: str) -> None:
    """Whether what is installed can decode the pixels.

    Raises:
        Refused: it cannot.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    if not import_optional("pydicom.pixels", "DICOM files").get_decoder(syntax).is_available:
        raise InvalidReadOption(
            f"{name} is compressed as {syntax.name}: pip install 'lightning-distill[dicom]' to decode it"
        )
