"""The twelve MedMNIST 2D sets, read as arrays straight from their files."""

from __future__ import annotations

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import OnOverlap
from lightning_distill.data.medmnist.base import MedMNISTBase
from lightning_distill.data.medmnist.file import MedMNISTFile
from lightning_distill.data.npz import groups_of, splits_of

#: What the images are: `presets.MODALITIES` says which augmentation that allows.
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
    """A MedMNIST 2D set: classes, task, licence and a valid augmentation come with it.

    Args:
        name: one of the twelve 2D sets, e.g. ``pneumoniamnist``.
        size: 28, 64, 128 or 224 pixels.
        root: folder of the npz files; default the variable ``MEDMNIST_ROOT``, else the medmnist package's folder.
        download: fetch a missing file through the medmnist package.
        augmentation: a preset of `presets.PRESETS`; ``None`` takes the one that `presets.MODALITIES` has for what
            the set shows (no mirror images of the organ and chest sets; colour only where there is some).
        source: what the file is called in tables; ``None`` compares its checksum with the official one.
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        min_combination: of multi-label data, training images a combination of labels needs, see `ArrayDataModule`.
        combinations_as_classes: make multi-label data single-label ones, see `ArrayDataModule`.
        seed: of the draws.
        on_overlap: where a patient or lesion is in two splits, in a file that has ``train_patient_id`` or
            ``train_lesion_id`` and the like: ``error``, ``warn`` or ``drop``, see `ArrayDataModule`.

    Raises:
        ValueError: unknown name or size (the closest are offered), or a truncated or corrupted file.
        FileNotFoundError: the file is missing and ``download`` is off.

    Reference:
        Yang et al.: MedMNIST v2, Scientific Data 2023, arXiv 2110.14795.
    """

    def __init__(
        self,
        name: str,
        size: int = 28,
        root: str | None = None,
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
        file = MedMNISTFile(name, size, root, download)
        super().__init__(
            file,
            _MODALITIES[name],
            augmentation,
            source,
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
        """The splits of the file; its checksum decides what it is called."""
        arrays = self.file.read()
        self.groups, splits = groups_of(arrays), splits_of(arrays, self.path.name)
        self.name_source()
        return splits
