"""``MedMNISTBase``: common base class of the 2D and 3D MedMNIST data modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_distill.augmentation.presets import valid_for
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.medmnist.file import MedMNISTFile
from lightning_distill.data.options import DataOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in `typing` from Python 3.11 on


class MedMNISTBase(ArrayDataModule, ABC):
    """Data module of one MedMNIST file. Subclasses convert its arrays to images in `load_raw`.

    Args:
        file: Set, size and location of the file.
        modality: Imaging modality, a key of `presets.MODALITIES`.
        augmentation: Name of a siamese augmentation in `presets.PRESETS`. ``None`` takes the one of the modality.
        source: Origin of the file in cards and tables. ``None`` compares its checksum with the official one.
        options: Keyword arguments of `ArrayDataModule`.
    """

    def __init__(
        self,
        file: MedMNISTFile,
        *,
        modality: str,
        augmentation: str | None,
        source: str | None,
        **options: Unpack[DataOptions],
    ) -> None:
        super().__init__(
            **file.info,
            name=file.name,
            augmentation=augmentation or valid_for(modality),
            source=source or "official file",
            **options,
        )
        self.file, self._source = file, source

    @property
    def reproducible_args(self) -> dict[str, object]:
        """Constructor arguments that reproduce this data module: name, size if not 28, source, and non-defaults."""
        size = {"size": self.file.size} if self.file.size != 28 else {}
        return {"name": self.file.flag, **size, "source": self.spec.source, **super().reproducible_args}

    @property
    def path(self) -> Path:
        """Path of the npz file: in ``root``, else in ``$MEDMNIST_ROOT``, else in the folder of the medmnist package."""
        return self.file.path

    def prepare_data(self) -> None:
        """Download a missing file if ``download=True``."""
        self.file.fetch()

    @abstractmethod
    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Read the splits as images and labels. An implementation also sets ``groups`` and calls `set_source`."""

    def set_source(self, suffix: str = "") -> None:
        """Set the origin shown in ``spec.source``.

        Args:
            suffix: Text after the origin, such as the rule by which slices are selected.
        """
        self._info = replace(self._info, source=(self._source or self.file.provenance()) + suffix)
