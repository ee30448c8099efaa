"""npz files in MedMNIST's form, read without pickle, memory-mapped where large."""

from __future__ import annotations

import errno
import math
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array, Channels
from lightning_distill.data.checks.groups import SPLITS, OnOverlap, number_groups

#: Packed arrays above this many bytes are unpacked to disk and mapped from there instead of read into memory.
MAP_ABOVE = 1 << 30
#: Arrays that are in the file as they are (``np.savez``) cost no disk: above this many bytes they are mapped in place.
MAP_PLAIN_ABOVE = 1 << 26
#: What stands before a member in a zip file; the last two are the lengths of its name and of what follows the name.
_LOCAL = struct.Struct("<4s5H3L2H")
#: A file of which more than that would be unpacked, and more than so many times its own size, is refused: images of a
#: hospital pack to a half or a fifth, zeros to a thousandth.
BOMB_ABOVE, BOMB_RATIO = 1 << 30, 200
_NOT_THE_FILES_FAULT = {errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE}


def read_npz(path: Path, map_above: int = MAP_ABOVE) -> dict[str, Array]:
    """The arrays of an npz file; large ones are mapped.

    An array that is not packed is mapped in place, after it was read through once to compare its checksum; a packed one
    from a ``.npy`` in a folder beside the file, unpacked once.

    Args:
        path: the file.
        map_above: bytes above which an array is mapped; those that are not packed from `MAP_PLAIN_ABOVE` on already.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, corrupted, holds Python objects (never unpickled), or would unpack to more
            than 200 times its size.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not in {path.parent}; check the path")
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as file:
            _check_size(archive, path)
            for member in archive.infolist():
                _check_header(archive, member)
                key, plain = member.filename.removesuffix(".npy"), member.compress_type == zipfile.ZIP_STORED
                if member.file_size <= (min(map_above, MAP_PLAIN_ABOVE) if plain else map_above):
                    arrays[key] = file[key]
                else:
                    arrays[key] = _map_in_place(archive, member, path) if plain else _map(archive, member, path)
    except _Bomb as error:
        raise ValueError(str(error)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in _NOT_THE_FILES_FAULT:
            raise
        objects = "pickle" in str(error).lower() or "python objects" in str(error).lower()
        reason = "it holds Python objects" if objects else "it is truncated or corrupted"
        raise ValueError(f"cannot read {path.name}: {reason}; get the file again") from error
    return arrays


class _Bomb(ValueError):
    """The file is whole, and unpacks to more than anybody's images do."""


def _check_size(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse a file before it fills memory or disk; an array is never read beyond the size it says it has."""
    whole, packed = sum(member.file_size for member in archive.infolist()), path.stat().st_size
    if whole > max(BOMB_ABOVE, BOMB_RATIO * packed):
        raise _Bomb(
            f"cannot read {path.name}: its {packed:,} bytes would unpack to {whole:,}, more than {BOMB_RATIO} times as "
            "many; get the file from somebody you trust, or write it anew by numpy.savez if that is true"
        )


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse an array that says it is larger than what is there: room would be made for all of it."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"an array of {shape} in {member.file_size} bytes")


def _map(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Array:
    name = Path(member.filename).stem
    target = path.with_suffix("") / f"{name}-{member.CRC:08x}.npy"  # another file of this name has another checksum
    if not target.is_file() or target.stat().st_size != member.file_size:
        target.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as unpacked, archive.open(member) as packed:
            try:
                shutil.copyfileobj(packed, unpacked, 1 << 24)
            except BaseException:
                os.unlink(unpacked.name)
                raise
        os.replace(unpacked.name, target)
    mapped: Array = np.load(target, mmap_mode="r", allow_pickle=False)
    return mapped


def _map_in_place(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Array:
    """The array of a member that is not packed."""
    with archive.open(member) as packed:
        while packed.read(1 << 22):  # the checksum is compared at the end
            pass
    with path.open("rb") as file:
        file.seek(member.header_offset)
        local = file.read(_LOCAL.size)
        file.seek(sum(_LOCAL.unpack(local)[-2:]), os.SEEK_CUR)  # the name, and what may follow it
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("Python objects are not read")
        start = file.tell()
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def splits_of(arrays: dict[str, Array], name: str) -> dict[str, tuple[Array, Array] | None]:
    """``{split}_images`` and ``{split}_labels`` for train, val and test; absent splits are None.

    Raises:
        ValueError: there is no train split, or a split has images without labels.
    """
    splits: dict[str, tuple[Array, Array] | None] = {}
    for split in SPLITS:
        images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
        if (images is None) != (labels is None):
            raise ValueError(f"{name} needs both {split}_images and {split}_labels; it holds {', '.join(arrays)}")
        splits[split] = None if images is None or labels is None else (images, labels)
    if splits["train"] is None:
        raise ValueError(f"{name} has no train_images; it holds {', '.join(arrays)}")
    return splits


def groups_of(arrays: dict[str, Array]) -> dict[str, NDArray[np.int64]]:
    """Which images belong together: ``{split}_patient_id``, ``_patient``, ``_lesion_id`` or ``_group``.

    The kind that most splits have is taken, the first of these where several are level: numbers of patients and of
    lesions cannot be held against each other.

    Returns:
        For each split that says so a number for each image, ``(N,)``, the same for one patient in every split; the
        identifiers themselves are not kept.
    """
    kinds = [
        {split: array for split in SPLITS if (array := arrays.get(f"{split}_{kind}")) is not None}
        for kind in ("patient_id", "patient", "lesion_id", "group")
    ]
    return number_groups(max(kinds, key=len))


class NpzDataModule(ArrayDataModule):
    """Any npz file with ``train_images``, ``train_labels`` and, if you have them, ``val_*`` and ``test_*``.

    ``train_patient_id``, ``val_patient_id``, ``test_patient_id`` (or ``_lesion_id``, ``_group``) say which images are
    of one patient or lesion: no patient may then be in two splits, a validation split is carved out by patients, and
    intervals over images resample them together.

    Args:
        path: the file.
        class_names: one a class.
        augmentation: a preset of `presets.PRESETS` that is valid for these images.
        license: licence of the data, for the card.
        source: where the bytes come from, for cards and tables.
        channels: place of the channels, where ``auto`` cannot tell.
        val_fraction: share of train carved out when the file has no validation split.
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        min_combination: of multi-label data, training images a combination of labels needs, see `ArrayDataModule`.
        combinations_as_classes: make multi-label data single-label ones, see `ArrayDataModule`.
        seed: of the draws and of a carved-out validation split.
        on_overlap: where a patient is in two splits: ``error``, ``warn`` or ``drop``, see `ArrayDataModule`.
    """

    def __init__(
        self,
        path: str,
        class_names: list[str] | None = None,
        augmentation: str = "dsa",
        license: str = "unknown",
        source: str = "user file",
        channels: Channels = "auto",
        val_fraction: float = 0.1,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        min_combination: int | None = None,
        combinations_as_classes: bool = False,
        seed: int = 0,
        on_overlap: OnOverlap = "error",
    ) -> None:
        super().__init__(
            class_names=class_names,
            name=Path(path).stem,
            augmentation=augmentation,
            license=license,
            source=source,
            channels=channels,
            val_fraction=val_fraction,
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            min_combination=min_combination,
            combinations_as_classes=combinations_as_classes,
            seed=seed,
            on_overlap=on_overlap,
        )
        self.path = Path(path)

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """The splits of the file, and which images belong together where it says so."""
        arrays = read_npz(self.path)
        self.groups = groups_of(arrays)
        return splits_of(arrays, self.path.name)
