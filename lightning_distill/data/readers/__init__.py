"""Files as hospitals have them, read to pixels on a fixed scale: pictures, DICOM, NIfTI."""

from lightning_distill.data.readers.base import DecodedImage, InvalidReadOption, ReadOptions, UnreadableFile
from lightning_distill.data.readers.dispatch import is_image, is_volume, read_image
from lightning_distill.data.readers.windows import WINDOWS, Windows

__all__ = [
    "WINDOWS",
    "DecodedImage",
    "InvalidReadOption",
    "ReadOptions",
    "UnreadableFile",
    "Windows",
    "is_image",
    "is_volume",
    "read_image",
]
