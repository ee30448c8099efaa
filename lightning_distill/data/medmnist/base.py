"""What the 2D and the 3D sets of MedMNIST have in common as data modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from lightning_distill.augmentation.presets import valid_for
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.medmnist.file import MedMNISTFile


class MedMNISTBase(ArrayDataModule, ABC):
    """A set read from one npz file; subclasses say how its arrays become images.

    Args:
        file: which, and where.
        modality: what it shows, see `presets.MODALITIES`.
        augmentation: a preset of `presets.PRESETS`; ``None`` takes the one valid for the modality.
        source: what the file is called in tables; ``None`` compares its checksum with the official one.
        options: of `ArrayDataModule`.
    """

    def __init__(
        self, file: MedMNISTFile, modality: str, augmentation: str | None, source: str | None, **options: Any
    ) -> None:
        super().__init__(
            **file.about,
            name=file.name,
            augmentation=augmentation or valid_for(modality),
            source=source or "official file",
            **options,
        )
        self.file, self._source = file, source

    @property
    def reproducible_args(self) -> dict[str, object]:
        """Name, size where it is not 28, source, and what else is not the default."""
        size = {"size": self.file.size} if self.file.size != 28 else {}
        return {"name": self.file.flag, **size, "source": self.spec.source, **super().reproducible_args}

    @property
    def path(self) -> Path:
        """The npz file: in ``root``, else in ``$MEDMNIST_ROOT``, else where the medmnist package keeps it."""
        return self.file.path

    def prepare_data(self) -> None:
        """Download a missing file, if allowed."""
        self.file.fetch()

    @abstractmethod
    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """The splits of the file as images and labels, with ``groups`` and `name_source` seen to."""

    def name_source(self, rule: str = "") -> None:
        """Say in ``spec.source`` what the file is, by its checksum where nobody said, and what was cut of it."""
        self._about = (*self._about[:4], (self._source or self.file.provenance()) + rule)
