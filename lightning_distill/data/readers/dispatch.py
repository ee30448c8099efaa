"""Choose the reader of a file by its suffix or its content."""

from __future__ import annotations

import os
from pathlib import Path

from lightning_distill.data.readers import dicom, nifti, raster
from lightning_distill.data.readers.base import (
    DecodedImage,
    InvalidReadOption,
    Reader,
    ReadOptions,
    UnreadableFile,
    translate_decoder_errors,
)

#: All supported file formats. Suffixes are tried first, then the content, both in this order.
READERS: tuple[Reader, ...] = (raster.READER, dicom.READER, nifti.READER)


def is_image(path: Path) -> bool:
    """Return whether a reader supports a file, by its suffix or its content. Unreadable files count as unsupported."""
    try:
        return find_reader(path) is not None
    except OSError:
        return False


def is_volume(path: str | os.PathLike[str]) -> bool:
    """Return whether a file name has the suffix of a volume format."""
    return any(reader.is_volume and reader.matches(os.fspath(path)) for reader in READERS)


def read_image(
    path: str | os.PathLike[str],
    options: ReadOptions | None = None,
    name: str | None = None,
    mask: str | os.PathLike[str] | None = None,
) -> DecodedImage:
    """Read a PNG, JPEG, TIFF, DICOM or NIfTI file to pixels on a fixed intensity scale.

    Args:
        path: Path of the file: ``.png``, ``.jpg``, ``.jpeg``, ``.tif``, ``.tiff``, ``.dcm``, ``.dicom``, ``.nii``,
            ``.nii.gz``, or a DICOM file with any other name.
        options: Windows, frames and limits. Default: ``ReadOptions()``.
        name: Name of the file in error messages. Default: the last part of the path.
        mask: Path of a NIfTI file that marks voxels of a NIfTI volume, for ``frames="mask"``.

    Raises:
        UnreadableFile: The file is missing, truncated, damaged, too large or in an unsupported format.
        InvalidReadOption: The file cannot be read with these options.
        MissingExtraError: The extra ``dicom`` is not installed.
        OSError: The disk or the permissions failed.
    """
    path = Path(path)
    name, options = name or path.name, options or ReadOptions()
    with translate_decoder_errors(name):
        reader = find_reader(path)
        if reader is None:
            suffixes = ", ".join(suffix.lstrip(".") for known in READERS for suffix in known.suffixes)
            raise UnreadableFile(
                f"cannot read {name}: its format is not supported; convert it to one of {suffixes} (DICOM files may "
                "have any suffix)"
            )
        if options.frames == "mask" and not reader.is_volume:
            raise InvalidReadOption(f"{name} is not a volume; frames='mask' needs volumes, use frames='middle'")
        return reader.read(path, options, name, None if mask is None else Path(mask))


def find_reader(path: Path) -> Reader | None:
    """Return the reader of a file, or None if no reader supports it.

    Raises:
        OSError: The suffix is unknown and the file cannot be opened.
    """
    by_suffix = (reader for reader in READERS if reader.matches(path.name))
    by_content = (reader for reader in READERS if reader.detect(path))
    return next(by_suffix, None) or next(by_content, None)
