"""The six MedMNIST 3D sets, as slices of their volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import PATIENT, OnOverlap
from lightning_distill.data.medmnist.base import MedMNISTBase
from lightning_distill.data.medmnist.file import MedMNISTFile
from lightning_distill.data.medmnist.slices import SliceRule, Slices, VolumeAxis
from lightning_distill.data.npz import groups_of, splits_of

#: What the volumes are: `presets.MODALITIES` says which augmentation that allows.
_MODALITIES = {
    "organmnist3d": "ct",
    "nodulemnist3d": "ct",
    "adrenalmnist3d": "ct",
    "fracturemnist3d": "ct",
    "vesselmnist3d": "mr",
    "synapsemnist3d": "electron_microscopy",
}


class MedMNIST3DDataModule(MedMNISTBase):
    """A MedMNIST 3D set distilled as 2D images: one slice, or several, of each volume, with the volume's label.

    MedMNIST documents no orientation, so ``axis`` counts the axes of a volume's array and is not called axial or
    coronal. Nor has it masks: which slice shows what the label says is not known. ``brightest`` and ``foreground``
    guess it from grey values (in the shape sets, adrenalmnist3d and vesselmnist3d, foreground is the shape itself);
    ``centre`` takes what the makers centred the volume on. The rule stands in ``spec.source``, which every table and
    card shows.

    Several slices of a volume are one group: they stay in one split, and intervals resample them together. Whether a
    patient has volumes in two splits the files do not say. Scores are of slices; ``compare --by_group true`` and
    `Predictions.by_group` score volumes, by the mean probability over their slices.

    Args:
        name: ``organmnist3d``, ``nodulemnist3d``, ``adrenalmnist3d``, ``fracturemnist3d``, ``vesselmnist3d`` or
            ``synapsemnist3d``.
        slices: ``centre``: ``count`` slices around the middle; ``brightest``: the one with the greatest sum of grey
            values; ``foreground``: the one with the most voxels above ``foreground_above``.
        axis: of a volume's array, 0, 1 or 2; slices stand at right angles to it.
        count: slices of each volume, for ``centre``.
        step: voxels from one of them to the next.
        foreground_above: grey value, 0 to 255, that foreground is above.
        size: 28 or 64 voxels an edge.
        root: folder of the npz files; default the variable ``MEDMNIST_ROOT``, else the medmnist package's folder.
        download: fetch a missing file through the medmnist package.
        augmentation: a preset of `presets.PRESETS`; ``None`` takes the one valid for this set.
        source: what the file is called in tables; ``None`` compares its checksum with the official one.
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        seed: of the draws.
        on_overlap: where a patient is in two splits, in a file that has ``train_patient_id`` and the like: ``error``,
            ``warn`` or ``drop``, see `ArrayDataModule`.

    Raises:
        ValueError: unknown name, size, rule or axis, more slices than a volume has, or a truncated or corrupted file.
        TypeError: voxels that are not uint8.
        FileNotFoundError: the file is missing and ``download`` is off.

    Reference:
        Yang et al.: MedMNIST v2, Scientific Data 2023, arXiv 2110.14795.
    """

    def __init__(
        self,
        name: str,
        slices: Slices = "centre",
        axis: VolumeAxis = 0,
        count: int = 1,
        step: int = 1,
        foreground_above: int = 0,
        size: int = 28,
        root: str | None = None,
        download: bool = True,
        augmentation: str | None = None,
        source: str | None = None,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
        on_overlap: OnOverlap = "error",
    ) -> None:
        file = MedMNISTFile(name, size, root, download, volumes=True)
        rule = SliceRule(slices, axis, count, step, foreground_above)
        rule.check(size)
        super().__init__(
            file,
            _MODALITIES[name],
            augmentation,
            source,
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
            on_overlap=on_overlap,
        )
        self.rule = rule

    @property
    def reproducible_args(self) -> dict[str, object]:
        """The slices too, where they are not the default; the source without them."""
        rule, plain = self.rule, SliceRule()
        given = {"slices": rule.slices, "axis": rule.axis, "count": rule.count, "step": rule.step}
        chosen = {key: value for key, value in given.items() if value != getattr(plain, key)}
        above = {"foreground_above": rule.above} if rule.above != plain.above else {}
        return {**super().reproducible_args, "source": self.spec.source.removesuffix(f", {rule}"), **chosen, **above}

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Slices of the volumes, with their volumes' labels; those of one volume are a group."""
        arrays = self.file.read()
        volumes = splits_of(arrays, self.path.name)
        self.name_source(f", {self.rule}")
        self.groups = self._group({split: len(given[1]) for split, given in volumes.items() if given}, arrays)
        return {split: self._cut(split, *given) if given else None for split, given in volumes.items()}

    def _cut(self, split: str, volumes: Array, labels: Array) -> tuple[Array, Array]:
        edge = self.file.size
        if volumes.shape[1:] != (edge, edge, edge) or len(volumes) != len(labels):
            raise ValueError(
                f"{self.path.name} has {split}_images of the shape {volumes.shape} and {len(labels)} labels; "
                f"expected (N, {edge}, {edge}, {edge}) and N"
            )
        if volumes.dtype != np.uint8:
            raise TypeError(f"{self.path.name} has {split}_images of {volumes.dtype}; MedMNIST3D's are uint8")
        return self.rule.cut(volumes), np.repeat(labels, self.rule.count, 0)

    def _group(self, counts: dict[str, int], arrays: dict[str, Array]) -> dict[str, NDArray[np.int64]]:
        """By split a number for each slice: of its patient where the file names them, else of its volume.

        One slice of every volume and no patients need no groups.
        """
        groups = groups_of(arrays)
        if not groups and self.rule.count == 1:
            return {}
        self.group_kind = PATIENT if len(groups) == len(counts) else "volume"
        number = 1 + max((int(of_split.max()) for of_split in groups.values()), default=-1)
        for split in [split for split in counts if split not in groups]:
            groups[split], number = np.arange(number, number + counts[split]), number + counts[split]
        return {split: np.repeat(groups[split], self.rule.count) for split in counts}
