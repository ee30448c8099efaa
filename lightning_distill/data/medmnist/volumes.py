"""``MedMNIST3DDataModule``: the six MedMNIST 3D sets, as slices of their volumes."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import PATIENT, OnOverlap
from lightning_distill.data.image_size import ImageSize, square_side
from lightning_distill.data.medmnist.base import MedMNISTBase
from lightning_distill.data.medmnist.file import MedMNISTFile
from lightning_distill.data.medmnist.slices import SliceRule, Slices, VolumeAxis
from lightning_distill.data.npz import groups_of, splits_of

#: Imaging modality of each set, a key of `presets.MODALITIES`, which selects a valid augmentation.
_MODALITIES = {
    "organmnist3d": "ct",
    "nodulemnist3d": "ct",
    "adrenalmnist3d": "ct",
    "fracturemnist3d": "ct",
    "vesselmnist3d": "mr",
    "synapsemnist3d": "electron_microscopy",
}


class MedMNIST3DDataModule(MedMNISTBase):
    """MedMNIST 3D set as 2D images: one or several slices of each volume, with the label of the volume.

    MedMNIST documents no orientation, so ``axis`` numbers the axes of the array and is not called axial or coronal. It
    has no masks either, so it is unknown which slice shows the finding. ``brightest`` and ``foreground`` are heuristics
    on gray values (in the shape sets adrenalmnist3d and vesselmnist3d, the foreground is the shape itself); ``centre``
    relies on how the authors centered the volumes. The rule is part of ``spec.source``, which cards and tables show.

    Slices of one volume form a group: they stay in one split, and bootstrap intervals resample them together. The files
    do not tell if a patient has volumes in two splits. Scores refer to slices. ``compare --by_group true`` and
    `Predictions.by_group` score volumes, by the mean probability over their slices.

    Args:
        name: Name of the set: ``organmnist3d``, ``nodulemnist3d``, ``adrenalmnist3d``, ``fracturemnist3d``,
            ``vesselmnist3d`` or ``synapsemnist3d``.
        slices: Rule that selects slices. ``centre``: ``count`` slices around the middle. ``brightest``: the slice with
            the largest sum of gray values. ``foreground``: the slice with the most voxels above ``foreground_above``.
        axis: Array axis of the volume (0, 1 or 2) that is perpendicular to the slices.
        count: Number of slices of each volume, for ``slices="centre"``.
        step: Distance between neighboring slices in voxels, for ``slices="centre"``.
        foreground_above: Gray value from 0 to 255 above which a voxel is foreground, for ``slices="foreground"``.
        size: Edge length of the volumes: 28 or 64 voxels.
        root: Folder of the npz files. ``None`` takes the environment variable ``MEDMNIST_ROOT``, else the folder of
            the medmnist package.
        download: Download a missing file with the medmnist package.
        augmentation: Name of a siamese augmentation in `presets.PRESETS`. ``None`` takes the one of
            `presets.MODALITIES` for the modality of the set.
        source: Origin of the file in cards and tables. ``None`` compares its checksum with the official one.
        real_per_class: Number of real images of each class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        seed: Seed of the batches.
        on_overlap: Action if a patient has volumes in two splits of a file with arrays such as ``train_patient_id``:
            ``error`` stops, ``warn`` continues, ``drop`` removes the slices from train, and those of test patients also
            from val.

    Raises:
        ValueError: If name, size, rule or axis are unknown, a volume has fewer slices than requested, or the file is
            truncated or corrupted (on first use).
        TypeError: If the voxels are not uint8 (on first use).
        FileNotFoundError: If the file is missing and ``download=False`` (on first use).

    Reference:
        Yang et al.: MedMNIST v2, Scientific Data 2023, arXiv 2110.14795.

    Example:
        >>> data = MedMNIST3DDataModule("organmnist3d", axis=2, count=3, step=4, root="data")
        >>> data.spec.shape  # doctest: +SKIP
        (1, 28, 28)
    """

    def __init__(
        self,
        name: str,
        *,
        slices: Slices = "centre",
        axis: VolumeAxis = 0,
        count: int = 1,
        step: int = 1,
        foreground_above: int = 0,
        size: ImageSize = 28,
        root: str | os.PathLike[str] | None = None,
        download: bool = True,
        augmentation: str | None = None,
        source: str | None = None,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
        on_overlap: OnOverlap = "error",
    ) -> None:
        side = square_side(size)
        file = MedMNISTFile(name, side, root, download, volumes=True)
        rule = SliceRule(slices, axis=axis, count=count, step=step, above=foreground_above)
        rule.check(side)
        super().__init__(
            file,
            modality=_MODALITIES[name],
            augmentation=augmentation,
            source=source,
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
            on_overlap=on_overlap,
        )
        self.rule = rule

    @property
    def reproducible_args(self) -> dict[str, object]:
        """Constructor arguments that reproduce this data module, with non-default slice options."""
        rule, default = self.rule, SliceRule()
        options = {"slices": rule.slices, "axis": rule.axis, "count": rule.count, "step": rule.step}
        changed = {key: value for key, value in options.items() if value != getattr(default, key)}
        above = {"foreground_above": rule.above} if rule.above != default.above else {}
        return {**super().reproducible_args, "source": self.spec.source.removesuffix(f", {rule}"), **changed, **above}

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Select the slices of every volume, and number their groups.

        Returns:
            Slices ``(N * count, H, W)`` and the labels of their volumes by split; ``None`` for an absent split.
        """
        arrays = self.file.read()
        volumes = splits_of(arrays, self.path.name)
        self.set_source(f", {self.rule}")
        self.groups = self._number_groups({split: len(pair[1]) for split, pair in volumes.items() if pair}, arrays)
        return {split: self._slice(split, *pair) if pair else None for split, pair in volumes.items()}

    def _slice(self, split: str, volumes: Array, labels: Array) -> tuple[Array, Array]:
        """Check the volumes of one split, and return their slices and labels."""
        edge = self.file.size
        if volumes.shape[1:] != (edge, edge, edge) or len(volumes) != len(labels):
            raise ValueError(
                f"{self.path.name} has {split}_images of shape {volumes.shape} and {len(labels)} labels; "
                f"expected (N, {edge}, {edge}, {edge}) and N"
            )
        if volumes.dtype != np.uint8:
            raise TypeError(f"{self.path.name} has {split}_images of dtype {volumes.dtype}; MedMNIST3D uses uint8")
        return self.rule.select(volumes), np.repeat(labels, self.rule.count, 0)

    def _number_groups(self, counts: dict[str, int], arrays: dict[str, Array]) -> dict[str, NDArray[np.int64]]:
        """Group number of each slice by split: of its patient if the file names patients, else of its volume.

        Args:
            counts: Number of volumes by split.
            arrays: Arrays of the file by name.

        Returns:
            Numbers ``(N * count,)`` by split; empty for one slice per volume without patients.
        """
        groups = groups_of(arrays)
        if not groups and self.rule.count == 1:
            return {}
        self.group_kind = PATIENT if len(groups) == len(counts) else "volume"
        number = 1 + max((int(numbers.max()) for numbers in groups.values()), default=-1)
        for split in [split for split in counts if split not in groups]:
            groups[split], number = np.arange(number, number + counts[split]), number + counts[split]
        return {split: np.repeat(groups[split], self.rule.count) for split in counts}
