"""One way in: which reader a file takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lightning_distill.data.readers.base import DecodedImage, InvalidReadOption, ReadOptions, UnreadableFile, decoding
from lightning_distill.data.readers.dicom import read_dicom
from lightning_distill.data.readers.dicom_detect import has_preamble, is_headerless
from lightning_distill.data.readers.nifti import read_nifti
from lightning_distill.data.readers.raster import read_raster

Reader = Callable[[Path, ReadOptions, str], DecodedImage]
_NIFTI = (".nii", ".nii.gz")
_READERS: dict[str, Reader] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff"), read_raster),
    **dict.fromkeys((".dcm", ".dicom"), read_dicom),
    **dict.fromkeys(_NIFTI, read_nifti),
}


def is_image(path: Path) -> bool:
    """Whether there is a reader for a file, by its ending, or where that says nothing by a beginning as DICOM's."""
    try:
        return _reader(path) is not None
    except OSError:
        return False


def is_volume(path: str | Path) -> bool:
    """Whether a file is a volume that is cut into slices, by its ending."""
    return str(path).lower().endswith(_NIFTI)


def read_image(
    path: str | Path, options: ReadOptions | None = None, name: str | None = None, mask: str | Path | None = None
) -> DecodedImage:
    """Read a picture, a DICOM or a NIfTI file to pixels on a fixed scale.

    Args:
        path: ``.png``, ``.jpg``, ``.jpeg``, ``.tif``, ``.tiff``, ``.dcm``, ``.dicom``, ``.nii``, ``.nii.gz``, or a
            DICOM file of any other name.
        options: windows, frames, limits; default `ReadOptions()`.
        name: what errors call the file; default its last part.
        mask: a NIfTI file that marks voxels of a NIfTI volume, for ``frames="mask"``.

    Raises:
        Unreadable: the file is missing, truncated, damaged, too large or of no known kind.
        Refused: it cannot be read as it was asked for.
        MissingExtra: the extra ``dicom`` is not installed.
        OSError: the disk or the rights are at fault.
    """
    path = Path(path)
    name, options = name or path.name, options or ReadOptions()
    with decoding(name):
        reader = _reader(path)
        if reader is read_nifti:
            return read_nifti(path, options, name, None if mask is None else Path(mask))
        if reader is not None and options.frames == "mask":
            raise InvalidReadOption(f"{name} is no NIfTI volume, and frames='mask' is for those; use frames='middle'")
        if reader is not None:
            return reader(path, options, name)
    known = ", ".join(ending.lstrip(".") for ending in _READERS)
    raise UnreadableFile(
        f"cannot read {name}: it is none of {known} nor does it begin as DICOM; convert it to one of these"
    )


def _reader(path: Path) -> Reader | None:
    lowered = path.name.lower()
    if lowered == "dicomdir":  # the index of a DICOM disk, marked as DICOM but without pixels
        return None
    for ending, reader in _READERS.items():
        if lowered.endswith(ending):
            return reader
    return read_dicom if has_preamble(path) or is_headerless(path) else None
