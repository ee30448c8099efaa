"""``load_set`` and ``LoadedSet``: a set file as a data set of PyTorch that knows its card and shows itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import TensorDataset

from lightning_distill.sets.arrays import Card
from lightning_distill.sets.exporting import export_loaded
from lightning_distill.sets.image_grid import image_grid, png_bytes
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.preparation import PrepareImage
from lightning_distill.sets.storage import read_set
from lightning_distill.sets.summary import describe_set
from lightning_distill.spec import DataSpec


class LoadedSet(TensorDataset):
    """Normalised images ``(N, C, H, W)`` float32 and targets of a set file, with its card.

    Targets are labels ``(N,)`` int64; soft labels ``(N, K)`` float32 for
    ``torch.nn.functional.cross_entropy`` if the file has them; 0/1 rows ``(N, K)`` float32 for
    ``binary_cross_entropy_with_logits`` if the data are multi-label. Sub-images are decoded, see `formation.decode`.

    Args:
        stored: Set as it is stored.
        card: Card of the set.

    Attributes:
        tensors: Images and targets.
        card: Card of the set as plain data: method, scores, warning, versions.
        spec: Classes, shape and pixel statistics.

    Example:
        >>> import torch
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(0.0,), std=(255.0,))
        >>> stored = LabeledSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), spec)
        >>> loaded = LoadedSet(stored, {"method": "DMDistiller", "start": "real"})
        >>> loaded
        LoadedSet(2 images, 2 classes x 1, 1x8x8, DMDistiller, started from real)
        >>> loaded.class_names, loaded.show().height
        (('a', 'b'), 210)
    """

    def __init__(self, stored: LabeledSet, card: Card) -> None:
        decoded = stored.decode()
        super().__init__(decoded.spec.normalize(decoded.pixels), decoded.targets)
        self.stored, self.card = stored, card

    @property
    def spec(self) -> DataSpec:
        """Classes, shape and pixel statistics of the data that the set replaces."""
        return self.stored.spec

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class, in the order of the labels."""
        return self.spec.class_names

    @property
    def transform(self) -> PrepareImage:
        """Callable that prepares own images as the card states: intensity, colour, size and normalisation.

        It takes a Pillow image, an array or a tensor and can be the ``transform`` of a torchvision data set.
        """
        return PrepareImage(self.spec)

    def show(self, columns: int = 10) -> Image.Image:
        """Return a picture with a row of images for each class; a notebook displays it, ``.save(path)`` writes it.

        Args:
            columns: Maximum number of images in a row.
        """
        return Image.fromarray(self._picture(columns))

    def to_folder(self, out: str | os.PathLike[str]) -> Path:
        """Write PNG files in class folders and ``labels.csv``, see `export_set`.

        Args:
            out: Folder to write; missing or empty.

        Returns:
            The folder.

        Raises:
            FileExistsError: The folder has files.
            ValueError: PNG files do not hold the number of channels.
            OSError: The folder cannot be written.
        """
        return export_loaded(self.stored, self.card, out, to="imagefolder")

    def to_npz(self, out: str | os.PathLike[str]) -> Path:
        """Write ``set.npz`` in MedMNIST's form, see `export_set`.

        Args:
            out: Folder to write; missing or empty.

        Returns:
            The folder.

        Raises:
            FileExistsError: The folder has files.
            OSError: The folder cannot be written.
        """
        return export_loaded(self.stored, self.card, out, to="npz")

    def __repr__(self) -> str:
        """Return size, classes, shape, method and start in one line."""
        return f"LoadedSet({describe_set(self.stored.labels, self.spec, self.stored.formation, self.card)})"

    def _repr_png_(self) -> bytes:
        """Return the picture of `show` for notebooks."""
        return png_bytes(self._picture())

    def _picture(self, columns: int = 10) -> NDArray[np.uint8]:
        decoded = self.stored.decode()
        return image_grid(decoded.pixels, decoded.labels, self.spec, columns)


def load_set(path: str | os.PathLike[str]) -> LoadedSet:
    """Load a set as a data set of normalised images and targets that knows its card.

    Args:
        path: File ``set.safetensors``, the folder that contains it, or an export of a set, see `storage.read_set`.

    Returns:
        A ``TensorDataset`` with ``card``, ``class_names``, ``transform``, ``show()``, ``to_folder()`` and ``to_npz()``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a set file, or was changed after it was written.
    """
    return LoadedSet(*read_set(path))
