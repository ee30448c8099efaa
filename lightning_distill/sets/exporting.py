"""``export_set``: write a set in the file format of another library."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lightning_distill.sets.export.pixels import prepare
from lightning_distill.sets.export.registry import FORMATS
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import Card, read_set


def export_set(
    synthetic_set: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    to: str = "imagefolder",
    decode: bool = True,
) -> Path:
    """Write a set as a folder of PNG files, an npz file or a Hugging Face data set; `load_set` reads each back.

    Where no pixel changes (uint8 pixels without sub-images, and ``npz`` with ``decode=False``), the export has the
    digest of the set. Else the card names the rounding and the digest of its source.

    Args:
        synthetic_set: Path of ``set.safetensors``, of its folder, or of another export.
        out: Folder to write; it must not exist, or be empty. It appears complete or not at all.
        to: Format: ``imagefolder`` (PNG files in class folders and ``labels.csv``), ``npz`` (``set.npz`` in MedMNIST's
            form) or ``hf`` (Hugging Face data set with Croissant metadata). PNG files have 8 bits.
        decode: Whether images with sub-images are decoded, for readers that do not know sub-images.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: The set does not exist.
        FileExistsError: The folder has files.
        ValueError: The format is unknown, or does not hold the images.
        OSError: The folder cannot be written.
    """
    check_target(out, to)
    return export_loaded(*read_set(synthetic_set), out, to=to, decode=decode)


def export_loaded(
    data: LabeledSet, card: Card, out: str | os.PathLike[str], *, to: str = "imagefolder", decode: bool = True
) -> Path:
    """Write a set that was read before, see `export_set`.

    Args:
        data: Set in its storage dtype.
        card: Card of the set.
        out: Folder to write; it must not exist, or be empty.
        to: Format, see `export_set`.
        decode: Whether images with sub-images are decoded.

    Returns:
        The folder.
    """
    folder = check_target(out, to)
    write_folder(folder, dict(FORMATS[to].write(prepare(data, card, FORMATS[to], decode))))
    return folder


def check_target(out: str | os.PathLike[str], to: str) -> Path:
    """Return the folder to write; raise for an unknown format, or a folder with files."""
    if to not in FORMATS:
        raise ValueError(f"unknown format to={to!r}; use one of {', '.join(FORMATS)}")
    check_empty(Path(out))
    return Path(out)


def check_empty(folder: Path) -> None:
    """Raise FileExistsError for a path that is a file, or a folder with files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        kind = "has files" if folder.is_dir() else "is a file"
        raise FileExistsError(f"{folder} {kind}, which are not overwritten; choose another folder with --out")


def write_folder(out: Path, files: dict[str, bytes]) -> None:
    """Write files below a temporary folder beside the target, and rename it.

    Args:
        out: Folder to write; missing or empty.
        files: Content of each file by relative path.
    """
    parent = out.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.resolve().name}.", suffix=".tmp", dir=parent))
    except OSError as error:
        message = f"cannot write to {out}: {error.strerror}; choose another folder"
        raise type(error)(error.errno, message) from error
    try:
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o777 & ~_umask())
        if out.exists():
            out.rmdir()  # empty; os.replace takes no existing folder on Windows
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
