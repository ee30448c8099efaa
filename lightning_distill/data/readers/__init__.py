"""Read PNG, JPEG, TIFF, DICOM and NIfTI files to pixels on a fixed intensity scale."""

from lightning_distill.data.readers.base import DecodedImage, InvalidReadOption, Reader, ReadOptions, UnreadableFile
from lightning_distill.data.readers.dispatch import is_image, is_volume, read_image
from lightning_distill.data.readers.windows import WINDOWS, Windows

__all__ = [
    "WINDOWS",
    "DecodedImage",
    "InvalidReadOption",
    "ReadOptions",
    "Reader",
    "UnreadableFile",
    "Windows",
    "is_image",
    "is_volume",
    "read_image",
]
