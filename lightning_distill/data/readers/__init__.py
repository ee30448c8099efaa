"""Files as hospitals have them, read to pixels on a fixed scale: pictures, DICOM, NIfTI."""

from lightning_distill.data.readers.base import Picture, ReadOptions, Refused, Unreadable
from lightning_distill.data.readers.dispatch import is_image, is_volume, read_image
from lightning_distill.data.readers.windows import WINDOWS, Windows

__all__ = [
    "WINDOWS",
    "Picture",
    "ReadOptions",
    "Refused",
    "Unreadable",
    "Windows",
    "is_image",
    "is_volume",
    "read_image",
]
