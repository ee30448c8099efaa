"""``NpzDataModule`` and a reader for npz files: no pickle, large arrays are memory-mapped."""

from __future__ import annotations

import errno
import math
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array, Channels
from lightning_distill.data.checks.groups import SPLITS, OnOverlap, number_groups

#: Compressed arrays above this number of bytes are decompressed to disk and mapped instead of read into memory.
MAP_ABOVE = 1 << 30
#: Uncompressed arrays (``np.savez``) above this number of bytes are mapped in place, which takes no disk space.
MAP_PLAIN_ABOVE = 1 << 26
#: Local file header of a zip member. Its last two fields are the lengths of the name and of the extra field.
_LOCAL = struct.Struct("<4s5H3L2H")
#: A file is rejected as a decompression bomb if its decompressed size exceeds this number of bytes and this multiple of
#: the file size. Medical images compress by a factor of 2 to 5, zeros by 1000.
BOMB_ABOVE, BOMB_RATIO = 1 << 27, 200
#: Bytes read at once to compare a checksum, and to decompress a member to disk.
CHUNK_BYTES, DECOMPRESS_CHUNK_BYTES = 1 << 22, 1 << 24
#: Errors of the operating system that are re-raised: the file itself may be intact.
_SYSTEM_ERRORS = {errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE}


def read_npz(path: Path, map_above: int = MAP_ABOVE) -> dict[str, Array]:
    """Read the arrays of an npz file; large ones are memory-mapped.

    An uncompressed array is mapped in place, after its checksum has been verified by reading it once. A compressed
    array is decompressed once to a ``.npy`` file in a folder beside the npz file and mapped from there.

    Args:
        path: Path of the npz file.
        map_above: Number of bytes above which an array is mapped. Uncompressed arrays are mapped above
            `MAP_PLAIN_ABOVE` bytes already.

    Returns:
        Arrays by name.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is truncated or corrupted, holds Python objects (they are never unpickled), or would
            decompress to more than 200 times its size.
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
        if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
            raise
        holds_objects = "pickle" in str(error).lower() or "python objects" in str(error).lower()
        reason = "it holds Python objects" if holds_objects else "it is truncated or corrupted"
        raise ValueError(f"cannot read {path.name}: {reason}; write or download it again") from error
    return arrays


class _Bomb(ValueError):
    """Intact file that would decompress to an implausible size."""


def _check_size(archive: zipfile.ZipFile, path: Path) -> None:
    """Reject a decompression bomb by the sizes in the zip directory; no member is read beyond its declared size."""
    unpacked, packed = sum(member.file_size for member in archive.infolist()), path.stat().st_size
    if unpacked > max(BOMB_ABOVE, BOMB_RATIO * packed):
        raise _Bomb(
            f"cannot read {path.name}: its {packed:,} bytes would unpack to {unpacked:,}, more than {BOMB_RATIO} times "
            "its size; if you trust the file, write it uncompressed with numpy.savez"
        )


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Reject an array with a header that declares more bytes than the member holds: all of them would be allocated."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"an array of {shape} in {member.file_size} bytes")


def _map(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Array:
    """Decompress a member to a ``.npy`` file beside the npz file, unless it exists, and map it."""
    name = Path(member.filename).stem
    target = path.with_suffix("") / f"{name}-{member.CRC:08x}.npy"  # the checksum tells files of one name apart
    if not target.is_file() or target.stat().st_size != member.file_size:
        target.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as unpacked, archive.open(member) as packed:
            try:
                shutil.copyfileobj(packed, unpacked, DECOMPRESS_CHUNK_BYTES)
            except BaseException:
                os.unlink(unpacked.name)
                raise
        os.replace(unpacked.name, target)
    mapped: Array = np.load(target, mmap_mode="r", allow_pickle=False)
    return mapped


def _map_in_place(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Array:
    """Map an uncompressed member from the npz file itself."""
    with archive.open(member) as packed:
        while packed.read(CHUNK_BYTES):  # zipfile compares the checksum at the end
            pass
    with path.open("rb") as file:
        file.seek(member.header_offset)
        local = file.read(_LOCAL.size)
        file.seek(sum(_LOCAL.unpack(local)[-2:]), os.SEEK_CUR)  # skip the name and the extra field
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("Python objects are not read")
        start = file.tell()
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def splits_of(arrays: dict[str, Array], name: str) -> dict[str, tuple[Array, Array] | None]:
    """Images and labels of each split, from arrays named ``{split}_images`` and ``{split}_labels``.

    Args:
        arrays: Arrays by name, as `read_npz` returns them.
        name: File name for error messages.

    Returns:
        Images and labels for ``train``, ``val`` and ``test``; ``None`` for an absent split.

    Raises:
        ValueError: If there is no training split, or a split has images without labels or labels without images.
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
    """Group numbers of each split, from its patient, lesion or group identifiers.

    The identifiers are arrays ``{split}_patient_id``, ``{split}_patient``, ``{split}_lesion_id`` or ``{split}_group``.

    Only one kind is used, because identifiers of patients and of lesions are not comparable: the kind that most splits
    have, and the first of this list where several are equal.

    Args:
        arrays: Arrays by name, as `read_npz` returns them.

    Returns:
        Numbers ``(N,)`` for each split with identifiers, equal for one group in all splits. The identifiers themselves
        are not kept.
    """
    kinds = [
        {split: array for split in SPLITS if (array := arrays.get(f"{split}_{kind}")) is not None}
        for kind in ("patient_id", "patient", "lesion_id", "group")
    ]
    return number_groups(max(kinds, key=len))


def class_names_of(arrays: dict[str, Array], name: str) -> list[str] | None:
    """Names of the classes from an array ``class_names`` of strings, or None if there is none.

    Args:
        arrays: Arrays by name, as `read_npz` returns them.
        name: File name for error messages.

    Raises:
        ValueError: If the array is not one row of different strings.
    """
    array = arrays.get("class_names")
    if array is None:
        return None
    if array.dtype.kind not in "US" or array.ndim != 1:
        raise ValueError(
            f"class_names of {name} is {array.dtype} of the shape {array.shape}; write one string for each class, as "
            "np.array(['benign', 'malignant'])"
        )
    names = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in array.tolist()]
    if repeated := next((text for text in names if names.count(text) > 1), None):
        raise ValueError(f"class_names of {name} has {repeated!r} twice; every class needs a name of its own")
    return names


class NpzDataModule(ArrayDataModule):
    """Data module for an npz file with ``train_images``, ``train_labels`` and, optionally, ``val_*`` and ``test_*``.

    Arrays ``train_patient_id``, ``val_patient_id`` and ``test_patient_id`` (or ``_lesion_id``, ``_group``) name the
    patient or lesion of each image. A patient may then not be in two splits, a validation split is taken by whole
    patients, and bootstrap intervals resample whole patients. An array ``class_names`` of strings names the classes.

    Args:
        path: Path of the npz file. Its name is not recorded anywhere.
        name: Name of the data set in cards, sets, checkpoints and tables.
        class_names: Name of each class. ``None`` takes the array ``class_names`` of the file, else ``"0"``,
            ``"1"``, ...
        augmentation: Name of a siamese augmentation in `presets.PRESETS` that is valid for the images.
        license: License of the data, recorded in the card.
        source: Origin of the data, shown in cards and tables.
        channels: Position of the channel axis, ``first`` or ``last``. ``auto`` infers it from the shape.
        val_fraction: Fraction of the training split used for validation if the file has no validation split.
        real_per_class: Number of real images of each class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        min_combination: Number of training images that a label combination of multi-label data needs to be treated
            as a class in balanced batches and in the synthetic set. ``None`` takes one percent of the training split.
        combinations_as_classes: Convert multi-label data to single-label data: each frequent label combination
            becomes a class, and images with other combinations are removed from every split.
        seed: Seed of the batches and of the validation split.
        on_overlap: Action if a patient has images in two splits: ``error`` stops, ``warn`` continues, ``drop`` removes
            the images from train, and those of test patients also from val.

    Raises:
        FileNotFoundError: If the file does not exist (on first use).
        ValueError: If the file is corrupted or its arrays are invalid (on first use).

    Example:
        >>> data = NpzDataModule("clinic.npz", name="clinic", class_names=["benign", "malignant"])
        >>> data.spec.class_names  # doctest: +SKIP
        ('benign', 'malignant')
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str = "npz",
        class_names: Sequence[str] | None = None,
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
            name=name,
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

    def advise_split(self, split: str) -> str:
        """Return the advice of error messages on a missing split: the arrays to add to the file.

        Args:
            split: Name of the split, ``val`` or ``test``.
        """
        return f"add the arrays {split}_images and {split}_labels to {self.path.name}"

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Read the splits, and the groups if the file has identifiers.

        Returns:
            Images and labels by split; ``None`` for an absent split.
        """
        arrays = read_npz(self.path)
        self.groups = groups_of(arrays)
        if self._class_names is None:
            self._class_names = class_names_of(arrays, self.path.name)
        return splits_of(arrays, self.path.name)
