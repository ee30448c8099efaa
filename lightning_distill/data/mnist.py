"""``MNISTDataModule``: MNIST and FashionMNIST, read from their idx files."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from lightning_distill.augmentation.presets import valid_for
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array

_FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
#: Default augmentation of each data set.
_AUGMENTATIONS = {"mnist": valid_for("digits"), "fashionmnist": "dsa"}
#: MD5 checksum of the uncompressed file with the training images.
_MD5 = {"mnist": "6bbc9ace898e44ae57da46a324031adb", "fashionmnist": "f4a8712d7a061bf5bd6d2ca38dc4d50a"}
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> Array:
    """Read an idx file, compressed (``.gz``) or not.

    Args:
        path: Path of the file without ``.gz``. The compressed file is read if it is the only one.

    Returns:
        Array in native byte order.

    Raises:
        FileNotFoundError: If neither file exists.
        ValueError: If the file is truncated, corrupted or not an idx file.
    """
    packed = path.with_name(f"{path.name}.gz")
    if not path.is_file() and not packed.is_file():
        raise FileNotFoundError(f"neither {path.name} nor {packed.name} is in {path.parent}; check root=")
    try:
        content = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {packed.name}: it is truncated or corrupted; download it again") from error
    dtype, dimensions = (content[2], content[3]) if len(content) > 3 and content[:2] == b"\0\0" else (0, 0)
    start = 4 + 4 * dimensions
    if dtype not in _DTYPES or len(content) < start:
        raise ValueError(f"{path.name} is not an idx file; download it again")
    shape, kind = np.frombuffer(content, ">u4", dimensions, 4).astype(int), np.dtype(_DTYPES[dtype])
    if len(content) - start != shape.prod() * kind.itemsize:
        count = (len(content) - start) / kind.itemsize
        raise ValueError(f"{path.name} holds {count:g} values, its header says {shape.prod()}; download it again")
    values: Array = np.frombuffer(content[start:], kind)
    return values.reshape(shape).astype(kind.newbyteorder("="))


class MNISTDataModule(ArrayDataModule):
    """MNIST or FashionMNIST: ten classes of gray 28x28 images. Validation images are taken from the training split.

    Args:
        name: Name of the data set, ``mnist`` or ``fashionmnist``.
        root: Folder of the idx files, or a folder with ``MNIST/raw`` or ``FashionMNIST/raw`` in it, as torchvision
            writes it. ``None`` takes the environment variable ``MNIST_ROOT`` or ``FASHIONMNIST_ROOT``, else
            ``~/.cache/lightning_distill``.
        download: Download missing files with torchvision.
        augmentation: Name of a siamese augmentation in `presets.PRESETS`. ``None`` takes ``dsa_noflip`` for mnist and
            ``dsa`` for fashionmnist.
        val_fraction: Fraction of the training images used for validation.
        real_per_class: Number of real images of each class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        seed: Seed of the batches and of the validation split.

    Raises:
        ValueError: If the name is unknown, or files are truncated or corrupted (on first use).
        FileNotFoundError: If files are missing and ``download=False`` (on first use).

    Reference:
        LeCun et al.: Gradient-based learning applied to document recognition, 1998. Xiao et al.: Fashion-MNIST,
        arXiv 1708.07747.

    Example:
        >>> data = MNISTDataModule("fashionmnist", root="data")
        >>> data.spec.class_names[:2]  # doctest: +SKIP
        ('T-shirt/top', 'Trouser')
    """

    def __init__(
        self,
        name: Literal["mnist", "fashionmnist"] = "mnist",
        *,
        root: str | os.PathLike[str] | None = None,
        download: bool = True,
        augmentation: str | None = None,
        val_fraction: float = 0.1,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        if name not in ("mnist", "fashionmnist"):
            raise ValueError(f"unknown name {name!r}; use mnist or fashionmnist")
        super().__init__(
            class_names=[str(digit) for digit in range(10)] if name == "mnist" else _FASHION,
            name=name,
            augmentation=augmentation or _AUGMENTATIONS[name],
            license="CC BY-SA 3.0" if name == "mnist" else "MIT",
            source="official files",
            val_fraction=val_fraction,
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
        )
        self.flag, self.download, self._root = name, download, root

    @property
    def reproducible_args(self) -> dict[str, object]:
        """Constructor arguments that reproduce this data module: the name, and a non-default augmentation."""
        default = _AUGMENTATIONS[self.flag]
        changed = {"augmentation": self.spec.augmentation} if self.spec.augmentation != default else {}
        return {"name": self.flag, **changed}

    @property
    def folder(self) -> Path:
        """Folder of the idx files. It need not exist yet."""
        configured = self._root or os.environ.get(f"{self.flag.upper()}_ROOT")
        root = Path(configured) if configured else Path.home() / ".cache" / "lightning_distill"
        inner = root / ("MNIST" if self.flag == "mnist" else "FashionMNIST") / "raw"
        return root if _complete(root) else inner

    def prepare_data(self) -> None:
        """Download missing files if ``download=True``."""
        if _complete(self.folder) or not self.download:
            return
        from torchvision import datasets

        kind = datasets.MNIST if self.flag == "mnist" else datasets.FashionMNIST
        kind(str(self.folder.parent.parent), download=True)

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Read the official training and test splits; `ArrayDataModule` takes the validation split from training.

        Returns:
            Images ``(N, 28, 28)`` uint8 and labels ``(N,)`` of train and test.
        """
        self.prepare_data()
        splits: dict[str, tuple[Array, Array] | None] = {}
        for split, (images, labels) in _FILES.items():
            splits[split] = read_idx(self.folder / images), read_idx(self.folder / labels)
            if split == "train":
                self._info = replace(self._info, source=self._provenance(splits[split]))
        return splits

    def _provenance(self, train: tuple[Array, Array] | None) -> str:
        """``official files`` if the training images have the official checksum, else ``not the official files``."""
        header = struct.pack(">4i", 0x803, 60000, 28, 28)
        checksum = hashlib.md5(header, usedforsecurity=False)
        if train is not None:
            checksum.update(np.ascontiguousarray(train[0]).data)
        return "official files" if checksum.hexdigest() == _MD5[self.flag] else "not the official files"


def _complete(folder: Path) -> bool:
    """Report if a folder holds all idx files."""
    names = [name for pair in _FILES.values() for name in pair]
    return all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in names)
