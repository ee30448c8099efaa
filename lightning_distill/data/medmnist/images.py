"""``MedMNISTDataModule``: the twelve MedMNIST 2D sets, read from their npz files."""

from __future__ import annotations

import os

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import OnOverlap
from lightning_distill.data.image_size import ImageSize, square_side
from lightning_distill.data.medmnist.base import MedMNISTBase
from lightning_distill.data.medmnist.file import MedMNISTFile
from lightning_distill.data.npz import groups_of, splits_of

#: Imaging modality of each set, a key of `presets.MODALITIES`, which selects a valid augmentation.
_MODALITIES = {
    "pathmnist": "histology",
    "chestmnist": "chest_xray",
    "dermamnist": "dermatoscopy",
    "octmnist": "oct",
    "pneumoniamnist": "chest_xray",
    "retinamnist": "fundus",
    "breastmnist": "breast_ultrasound",
    "bloodmnist": "blood_smear",
    "tissuemnist": "fluorescence",
    "organamnist": "ct",
    "organcmnist": "ct",
    "organsmnist": "ct",
}


class MedMNISTDataModule(MedMNISTBase):
    """MedMNIST 2D set, with its class names, task, license and a valid augmentation.

    Args:
        name: Name of one of the twelve 2D sets, e.g. ``pneumoniamnist``.
        size: Edge length of the images: 28, 64, 128 or 224 pixels.
        root: Folder of the npz files. ``None`` takes the environment variable ``MEDMNIST_ROOT``, else the folder of
            the medmnist package.
        download: Download a missing file with the medmnist package.
        augmentation: Name of a siamese augmentation in `presets.PRESETS`. ``None`` takes the one of
            `presets.MODALITIES` for the modality of the set: no mirroring of organs and chests, and color operations
            for color images only.
        source: Origin of the file in cards and tables. ``None`` compares its checksum with the official one.
        real_per_class: Number of real images of each class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        min_combination: Number of training images that a label combination of multi-label data needs to be treated
            as a class in balanced batches and in the synthetic set. ``None`` takes one percent of the training split.
        combinations_as_classes: Convert multi-label data to single-label data: each frequent label combination
            becomes a class, and images with other combinations are removed from every split.
        seed: Seed of the batches.
        on_overlap: Action if a patient or lesion has images in two splits of a file with arrays such as
            ``train_patient_id`` or ``train_lesion_id``: ``error`` stops, ``warn`` continues, ``drop`` removes the
            images from train, and those of test patients also from val.

    Raises:
        ValueError: If the name or size is unknown, or the file is truncated or corrupted (on first use).
        FileNotFoundError: If the file is missing and ``download=False`` (on first use).

    Reference:
        Yang et al.: MedMNIST v2, Scientific Data 2023, arXiv 2110.14795.

    Example:
        >>> data = MedMNISTDataModule("pneumoniamnist", root="data")
        >>> data.spec.class_names  # doctest: +SKIP
        ('normal', 'pneumonia')
    """

    def __init__(
        self,
        name: str,
        *,
        size: ImageSize = 28,
        root: str | os.PathLike[str] | None = None,
        download: bool = True,
        augmentation: str | None = None,
        source: str | None = None,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        min_combination: int | None = None,
        combinations_as_classes: bool = False,
        seed: int = 0,
        on_overlap: OnOverlap = "error",
    ) -> None:
        file = MedMNISTFile(name, square_side(size), root, download)
        super().__init__(
            file,
            modality=_MODALITIES[name],
            augmentation=augmentation,
            source=source,
            channels="last",
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            min_combination=min_combination,
            combinations_as_classes=combinations_as_classes,
            seed=seed,
            on_overlap=on_overlap,
        )

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Read the splits, the groups if the file has identifiers, and the origin of the file.

        Returns:
            Images and labels by split; ``None`` for an absent split.
        """
        arrays = self.file.read()
        self.groups, splits = groups_of(arrays), splits_of(arrays, self.path.name)
        self.set_source()
        return splits
