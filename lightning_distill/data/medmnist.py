"""The twelve MedMNIST 2D sets, read as arrays straight from their files."""

from __future__ import annotations

import difflib
import hashlib
import os
from pathlib import Path

from lightning_distill.data.arrays import ArrayDataModule
from lightning_distill.data.groups import OnOverlap
from lightning_distill.data.layout import Array
from lightning_distill.data.npz import MAP_ABOVE, groups_of, read_npz, splits_of
from lightning_distill.presets import valid_for
from lightning_distill.spec import Task

SIZES = (28, 64, 128, 224)
_TASKS: dict[str, Task] = {
    "multi-class": "multi-class",
    "binary-class": "binary",
    "ordinal-regression": "ordinal",
    "multi-label, binary-class": "multi-label",
}
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


class MedMNISTDataModule(ArrayDataModule):
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
        from medmnist import INFO

        sets = [key for key in INFO if not key.endswith("3d")]
        if name not in sets:
            close = difflib.get_close_matches(name, sets, n=3, cutoff=0.3) or sets
            raise ValueError(f"unknown MedMNIST set {name!r}; closest: {', '.join(close)}")
        if size not in SIZES:
            raise ValueError(f"size={size}; MedMNIST has {', '.join(map(str, SIZES))}")
        info = INFO[name]
        super().__init__(
            class_names=list(info["label"].values()),
            name=name if size == 28 else f"{name}_{size}",
            task=_TASKS[info["task"]],
            augmentation=augmentation or valid_for(_MODALITIES[name]),
            license=info["license"],
            source=source or "official file",
            channels="last",
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            min_combination=min_combination,
            combinations_as_classes=combinations_as_classes,
            seed=seed,
            on_overlap=on_overlap,
        )
        self.flag, self.size, self.download = name, size, download
        self._root, self._source = root, source
        self._md5 = info["MD5" if size == 28 else f"MD5_{size}"]

    @property
    def recipe(self) -> dict[str, object]:
        """Name, size where it is not 28, source, and what else is not the default."""
        size = {"size": self.size} if self.size != 28 else {}
        return {"name": self.flag, **size, "source": self.spec.source, **super().recipe}

    @property
    def path(self) -> Path:
        """The npz file: in ``root``, else in ``$MEDMNIST_ROOT``, else where the medmnist package keeps it."""
        root = self._root or os.environ.get("MEDMNIST_ROOT")
        if root is None:
            from medmnist.info import DEFAULT_ROOT

            root = DEFAULT_ROOT
        return Path(root) / (f"{self.flag}.npz" if self.size == 28 else f"{self.flag}_{self.size}.npz")

    def prepare_data(self) -> None:
        """Download a missing file, if allowed."""
        if self.path.is_file() or not self.download:
            return
        import medmnist

        kind = getattr(medmnist, medmnist.INFO[self.flag]["python_class"])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kind(split="train", root=str(self.path.parent), size=self.size, download=True)

    def load(self) -> dict[str, tuple[Array, Array] | None]:
        """The splits of the file; its checksum decides what it is called."""
        self.prepare_data()
        arrays = read_npz(self.path)
        self.groups, splits = groups_of(arrays), splits_of(arrays, self.path.name)
        if self._source is None:
            name, task, augmentation, license, _ = self._about
            self._about = (name, task, augmentation, license, self._provenance())
        return splits

    def _provenance(self) -> str:
        if self.path.stat().st_size > MAP_ABOVE:
            return "not compared with the official file"
        same = hashlib.md5(self.path.read_bytes(), usedforsecurity=False).hexdigest() == self._md5
        return "official file" if same else "not the official file"
