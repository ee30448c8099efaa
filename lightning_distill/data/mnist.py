"""MNIST and its relatives, read straight from their idx files."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from lightning_distill.augmentation.presets import valid_for
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array

_FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
#: The augmentation each has where none is named.
_OWN = {"mnist": valid_for("digits"), "fashionmnist": "dsa"}
#: md5 of the unpacked training images.
_MD5 = {"mnist": "6bbc9ace898e44ae57da46a324031adb", "fashionmnist": "f4a8712d7a061bf5bd6d2ca38dc4d50a"}
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> Array:
    """The array of an idx file, packed (``.gz``) or not.

    Args:
        path: without ``.gz``; the packed file is taken where it is the only one.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: truncated, corrupted, or no idx file.
    """
    packed = path.with_name(f"{path.name}.gz")
    if not path.is_file() and not packed.is_file():
        raise FileNotFoundError(f"neither {path.name} nor {packed.name} is in {path.parent}; check root")
    try:
        content = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {packed.name}: it is truncated or corrupted; get the file again") from error
    dtype, dimensions = (content[2], content[3]) if len(content) > 3 and content[:2] == b"\0\0" else (0, 0)
    start = 4 + 4 * dimensions
    if dtype not in _DTYPES or len(content) < start:
        raise ValueError(f"{path.name} is not an idx file; get the file again")
    shape, kind = np.frombuffer(content, ">u4", dimensions, 4).astype(int), np.dtype(_DTYPES[dtype])
    if len(content) - start != shape.prod() * kind.itemsize:
        found = (len(content) - start) / kind.itemsize
        raise ValueError(f"{path.name} holds {found:g} values, its header says {shape.prod()}; get the file again")
    values: Array = np.frombuffer(content[start:], kind)
    return values.reshape(shape).astype(kind.newbyteorder("="))


class MNISTDataModule(ArrayDataModule):
    """MNIST or FashionMNIST: ten classes of 28x28 px, grey; a validation split is carved out of the 60,000.

    Args:
        name: ``mnist`` or ``fashionmnist``.
        root: folder of the idx files, or one with ``MNIST/raw`` or ``FashionMNIST/raw`` in it, as torchvision has it;
            default the variable ``MNIST_ROOT`` or ``FASHIONMNIST_ROOT``, else ``~/.cache/lightning_distill``.
        download: fetch missing files through torchvision.
        augmentation: a preset of `presets.PRESETS`; ``None`` takes ``dsa_noflip`` for digits, ``dsa`` for clothes.
        val_fraction: share of the training images that is carved out.
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        seed: of the draws and of the carved-out validation split.

    Raises:
        ValueError: unknown name, or truncated or corrupted files.
        FileNotFoundError: the files are missing and ``download`` is off.

    Reference:
        LeCun et al.: Gradient-based learning applied to document recognition, 1998. Xiao et al.: Fashion-MNIST,
        arXiv 1708.07747.
    """

    def __init__(
        self,
        name: Literal["mnist", "fashionmnist"] = "mnist",
        root: str | None = None,
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
            augmentation=augmentation or _OWN[name],
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
        """Name, and the augmentation where it is not the set's own."""
        own = _OWN[self.flag]
        changed = {"augmentation": self.spec.augmentation} if self.spec.augmentation != own else {}
        return {"name": self.flag, **changed}

    @property
    def folder(self) -> Path:
        """Where the idx files are, or will be."""
        given = self._root or os.environ.get(f"{self.flag.upper()}_ROOT")
        root = Path(given) if given else Path.home() / ".cache" / "lightning_distill"
        inner = root / ("MNIST" if self.flag == "mnist" else "FashionMNIST") / "raw"
        return root if _complete(root) else inner

    def prepare_data(self) -> None:
        """Download missing files, if allowed."""
        if _complete(self.folder) or not self.download:
            return
        from torchvision import datasets

        kind = datasets.MNIST if self.flag == "mnist" else datasets.FashionMNIST
        kind(str(self.folder.parent.parent), download=True)

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Train and test as they are published; `ArrayDataModule` carves out the validation split."""
        self.prepare_data()
        splits: dict[str, tuple[Array, Array] | None] = {}
        for split, (images, labels) in _FILES.items():
            splits[split] = read_idx(self.folder / images), read_idx(self.folder / labels)
            if split == "train":
                name, task, augmentation, license, _ = self._about
                self._about = (name, task, augmentation, license, self._provenance(splits[split]))
        return splits

    def _provenance(self, train: tuple[Array, Array] | None) -> str:
        header = struct.pack(">4i", 0x803, 60000, 28, 28)
        found = hashlib.md5(header, usedforsecurity=False)
        if train is not None:
            found.update(np.ascontiguousarray(train[0]).data)
        return "official files" if found.hexdigest() == _MD5[self.flag] else "not the official files"


def _complete(folder: Path) -> bool:
    names = [name for pair in _FILES.values() for name in pair]
    return all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in names)
