"""``ArrayDataModule``: validated image arrays, in memory or memory-mapped, served as class-balanced batches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from lightning import LightningDataModule
from numpy.typing import NDArray

from lightning_distill._renamed import RenamedArguments
from lightning_distill.data.checks import label_combinations
from lightning_distill.data.checks.arrays import Array, Channels, as_images, as_labels
from lightning_distill.data.checks.groups import (
    PATIENT,
    Identifiers,
    OnOverlap,
    check_groups,
    check_on_overlap,
    number_groups,
    resolve_overlaps,
)
from lightning_distill.data.checks.splits import RawSplits, Split, carve_out, select_rows
from lightning_distill.data.combination_classes import combinations_to_classes
from lightning_distill.data.describe import DataInfo, describe, summary
from lightning_distill.data.loaders import ClassBalancedLoader, NumberedBatches, SequentialLoader, UniformLoader
from lightning_distill.data.scored_images import ScoredImages, scored_split
from lightning_distill.spec import DataSpec, Task
from lightning_distill.utils.lazy_arrays import take

#: Batches in an epoch where neither the data module nor the trainer sets a number of steps.
DEFAULT_STEPS_PER_EPOCH = 100
#: Validations in a run of ``Trainer(max_steps=n)`` where this number divides n.
VALIDATIONS_PER_RUN = 5
#: Number of training images whose digest a checkpoint holds.
SAMPLED_IMAGES = 16


class ArrayDataModule(RenamedArguments, LightningDataModule):
    """Data module for image and label arrays, and base class of all data modules of this package.

    A distiller uses three members: ``spec`` (a `DataSpec`), ``train_arrays()`` and ``train_dataloader()``, which
    yields class-balanced batches. Images keep their dtype in memory and on the device; the distiller normalizes each
    batch with the mean and standard deviation of the training split. Memory-mapped images, such as
    ``np.load(path, mmap_mode="r")``, stay on disk (see `lazy_arrays.FileArray`): only labels, row numbers (at most 24
    bytes per image) and the images of the current batch are held in memory. Subclasses override `load_raw`.

    Args:
        train: Training images and labels. Images are uint8 or float, ``(N, H, W)``, ``(N, H, W, C)`` or
            ``(N, C, H, W)``, in memory or memory-mapped. Labels are integers ``(N,)`` or ``(N, 1)``, or 0/1 targets
            ``(N, L)`` for multi-label data.
        val: Validation images and labels, in the formats of ``train``. If ``None``, ``val_fraction`` of the training
            split is used, stratified by class and by whole groups where ``groups`` are given.
        test: Test images and labels, in the formats of ``train``. ``None`` disables ``trainer.test``.
        class_names: Name of each class. ``None`` takes ``"0"``, ``"1"``, ...
        name: Name of the data set in cards and tables.
        task: Task of the labels: ``binary``, ``multi-class``, ``ordinal`` or ``multi-label``. ``None`` infers it: two
            classes are binary, labels ``(N, L)`` are multi-label.
        augmentation: Name of a siamese augmentation in `presets.PRESETS` that is valid for the images.
        license: License of the data, recorded in the card.
        source: Origin of the data, shown in cards and tables.
        channels: Position of the channel axis, ``first`` or ``last``. ``auto`` infers it from the shape.
        val_fraction: Fraction of the training split used for validation if ``val`` is ``None``.
        real_per_class: Number of real images of each class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        min_combination: Number of training images that a label combination of multi-label data needs to be treated
            as a class in balanced batches and in the synthetic set (`DataSpec.balance_groups`). ``None`` takes one
            percent of the training split.
        combinations_as_classes: Convert multi-label data to single-label data: each frequent label combination
            becomes a class, and images with other combinations are removed from every split.
        seed: Seed of the batches and of the validation split.
        groups: Patient or lesion identifier of each image by split, integers or strings ``(N,)`` with the same meaning
            in every split. They are replaced by consecutive numbers and not stored.
        on_overlap: Action if a group has images in two splits: ``error`` stops, ``warn`` continues, ``drop`` removes
            from train the images of groups that are in val or test, and from val those of groups that are in test.

    Raises:
        ValueError: If shapes, labels or options are invalid, a class has no images, there is one class only, pixels
            are NaN or infinite, or a group is in two splits and ``on_overlap="error"``.
        TypeError: If a dtype is not supported.

    Example:
        >>> import numpy as np
        >>> images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2
        >>> data = ArrayDataModule((images, labels), class_names=["benign", "malignant"], real_per_class=4)
        >>> data.spec.shape, len(data.splits["train"][1]), len(data.splits["val"][1])
        ((1, 8, 8), 18, 2)
        >>> x, y = next(iter(data.train_dataloader()))
        >>> tuple(x.shape), y.tolist()
        ((8, 1, 8, 8), [0, 0, 0, 0, 1, 1, 1, 1])
    """

    def __init__(
        self,
        train: tuple[Array, Array] | None = None,
        val: tuple[Array, Array] | None = None,
        test: tuple[Array, Array] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        name: str = "arrays",
        task: Task | None = None,
        augmentation: str = "dsa",
        license: str = "unknown",
        source: str = "user arrays",
        channels: Channels = "auto",
        val_fraction: float = 0.1,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        min_combination: int | None = None,
        combinations_as_classes: bool = False,
        seed: int = 0,
        groups: Mapping[str, Identifiers] | None = None,
        on_overlap: OnOverlap = "error",
    ) -> None:
        super().__init__()
        check_on_overlap(on_overlap)
        sizes = {"real_per_class": real_per_class, "batch_size": batch_size, "steps_per_epoch": steps_per_epoch}
        for key, value in sizes.items():
            if value is not None and value < 1:
                raise ValueError(f"{key}={value}; it must be at least 1")
        self._raw = {"train": train, "val": val, "test": test}
        self._info = DataInfo(name, task, augmentation, license, source)
        self._class_names = class_names
        self.channels, self.val_fraction = channels, val_fraction
        self.real_per_class, self.batch_size = real_per_class, batch_size
        self.steps_per_epoch, self.seed = steps_per_epoch, seed
        self.min_combination, self.combinations_as_classes = min_combination, combinations_as_classes
        self._splits: dict[str, Split] = {}
        self.on_overlap: OnOverlap = on_overlap
        #: Group number of each image by split, ``(N,)``: equal for images of one patient or lesion, in all splits.
        #: Empty where groups are unknown.
        self.groups: dict[str, NDArray[np.int64]] = {}
        #: Kind of the groups: ``patient``, or ``volume`` or ``file`` for images cut from one of these.
        self.group_kind = PATIENT
        self._numbered = number_groups(groups or {})
        self._spec: DataSpec | None = None
        self._covered: Split | None = None

    @property
    def spec(self) -> DataSpec:
        """Shape, classes and pixel statistics of the data. Loads the data on first use."""
        self._load()
        assert self._spec is not None
        return self._spec

    @property
    def splits(self) -> dict[str, Split]:
        """Images ``(N, C, H, W)`` and labels of ``train``, ``val`` and ``test``. Loads the data on first use."""
        self._load()
        return self._splits

    @splits.setter
    def splits(self, splits: dict[str, Split]) -> None:
        self._splits = splits

    @property
    def is_loaded(self) -> bool:
        """Whether the data have been loaded; ``repr`` and this property never load them."""
        return self._spec is not None

    @property
    def has_images(self) -> bool:
        """Whether training images can be read."""
        return True

    @property
    def reproducible_args(self) -> dict[str, object]:
        """Constructor arguments that reproduce this data module, without local paths. Recorded with each result."""
        defaults: dict[str, object] = {"min_combination": None, "combinations_as_classes": False, "on_overlap": "error"}
        return {key: getattr(self, key) for key, default in defaults.items() if getattr(self, key) != default}

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Read images and labels of the splits ``train``, ``val`` and ``test``, without checks.

        Subclasses override this method. It may also set ``groups``, ``group_kind`` and the class names.

        Returns:
            Images and labels by split, in the formats of the constructor's ``train``. A split may be absent or
            ``None``, except for ``train``.
        """
        return self._raw

    def setup(self, stage: str | None = None) -> None:
        """Load, check and describe the data on the first call.

        Args:
            stage: Stage of the trainer. Not used: all splits are prepared together.
        """
        if self._spec is not None:
            return
        raw = self.load_splits()
        self._splits, self.groups = raw.splits, raw.groups
        for split, rows in resolve_overlaps(self.groups, self.on_overlap).items():
            select_rows(self._splits, self.groups, split, split, rows)
        if "val" not in self._splits:
            labels = self._splits["train"][1]
            train, val = carve_out(labels, self.val_fraction, self.seed, self.groups.get("train"))
            select_rows(self._splits, self.groups, "val", "train", val)
            select_rows(self._splits, self.groups, "train", "train", train)
        if self.combinations_as_classes:
            if self._splits["train"][1].ndim == 1:
                raise ValueError("combinations_as_classes=True, but the labels are single ones; omit this option")
            self._class_names = combinations_to_classes(self._splits, self.groups, self._describe())
        self._spec = self._describe()
        hparams = {"dataset": self._spec.name, "source": self._spec.source, "real_per_class": self.real_per_class}
        self.save_hyperparameters(hparams)  # shown by loggers: contains no local path

    def load_splits(self) -> RawSplits:
        """Read the splits and check each one alone, before overlaps are resolved and a validation split is made.

        This is the first step of `setup` and the input of an audit.

        Returns:
            Images ``(N, C, H, W)``, labels and groups of each split.

        Raises:
            ValueError: If there is no training split, or shapes or labels are invalid.
        """
        raw = self._load_checked()
        if "train" not in raw.splits:
            raise ValueError("no training images: ArrayDataModule(train=(images, labels)) is required")
        return raw

    def test_images(self) -> ScoredImages:
        """Return the test images alone, for a set that is scored without its training data.

        Training and validation images need not exist. If there are training images only, e.g. class folders without
        split folders, all of them are test images, with a warning.

        Raises:
            ValueError: There are no test images, one class only, or the data are multi-label.
        """
        raw = self._load_checked()
        split = scored_split(raw, self.advise_split("test"))
        alone = copy(self)
        alone.splits, alone.groups = {"train": raw.splits[split]}, {}
        groups = {"test": raw.groups[split]} if split in raw.groups else {}
        return ScoredImages(alone._describe(), raw.splits[split], self.batch_size, groups, self.reproducible_args)

    def _load_checked(self) -> RawSplits:
        """Read the splits and check each one alone."""
        arrays = {split: pair for split, pair in self.load_raw().items() if pair is not None}
        splits = {}
        for split, (raw_images, raw_labels) in arrays.items():
            images = as_images(raw_images, split, self.channels)
            splits[split] = images, as_labels(raw_labels, len(images), split)
        groups = dict(self._numbered or self.groups)
        check_groups(groups, {split: len(labels) for split, (_, labels) in splits.items()})
        names = None if self._class_names is None else tuple(self._class_names)
        return RawSplits(self._info.name, self._info.source, names, splits, groups, self.group_kind)

    def advise_split(self, split: str) -> str:
        """Return the advice of error messages on a missing split: the way to provide it.

        Args:
            split: Name of the split, ``val`` or ``test``.
        """
        return f"pass {split}=(images, labels)"

    def train_arrays(self) -> Split:
        """Training images and their balance-group numbers, from which balanced batches are drawn.

        For multi-label data these are only the images with a frequent label combination.

        Returns:
            Images ``(N, C, H, W)`` in pixel units, and int64 numbers ``(N,)`` of their `DataSpec.balance_groups`.

        Raises:
            ValueError: If multi-label data have fewer than two frequent label combinations.
        """
        if not self.spec.multi_label:
            return self.splits["train"]
        if self._covered is None:
            images, targets = self.splits["train"]
            rows, numbers = label_combinations.is_covered(targets, self.spec.combinations)
            self._covered = take(images, rows), numbers
            label_combinations.log_combinations(self.spec, self.splits["train"][1])
        return self._covered

    def all_train_arrays(self) -> Split:
        """All training images ``(N, C, H, W)`` in pixel units, with labels ``(N,)`` or 0/1 targets ``(N, L)``."""
        return self.splits["train"]

    def describe_training_data(self) -> dict[str, Any]:
        """Return a record for checkpoints: options of the batches, and digests of the labels and of some images."""
        images, labels = self.train_arrays()
        rows = np.unique(np.linspace(0, len(labels) - 1, SAMPLED_IMAGES).astype(np.int64))
        sample = np.ascontiguousarray(np.asarray(take(images, rows)))
        return {
            "seed": self.seed,
            "real_per_class": self.real_per_class,
            "training images": len(labels),
            "labels": hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()[:12],
            "images": hashlib.sha256(sample.tobytes()).hexdigest()[:12],
        }

    def train_dataloader(self) -> NumberedBatches:
        """Class-balanced batches of training images; for a module with ``uniform_batch_size``, uniform draws."""
        module = None if self.trainer is None else self.trainer.lightning_module
        if (size := getattr(module, "uniform_batch_size", None)) is not None:
            steps = self._num_steps()
            return UniformLoader(*self.all_train_arrays(), batch_size=size, steps=steps, seed=self.seed)
        return self.balanced_loader()

    def balanced_loader(self) -> ClassBalancedLoader:
        """Class-balanced batches of training images, whatever module is trained."""
        images, labels = self.train_arrays()
        return ClassBalancedLoader(
            images,
            labels,
            num_classes=len(self.spec.balance_groups),
            per_class=self.real_per_class,
            steps=self._num_steps(),
            seed=self.seed,
        )

    def val_dataloader(self) -> SequentialLoader:
        """All validation images in order."""
        return SequentialLoader(*self._split("val"), batch_size=self.batch_size)

    def test_dataloader(self) -> SequentialLoader:
        """All test images in order."""
        return SequentialLoader(*self._split("test"), batch_size=self.batch_size)

    def _split(self, split: str) -> Split:
        if split not in self.splits:
            raise ValueError(f"{self.spec.name} has no {split} split; {self.advise_split(split)}")
        return self.splits[split]

    def __repr__(self) -> str:
        """Return classes, shape, splits and source in one line; without loading, if the data are not loaded yet."""
        return f"{type(self).__name__}({summary(self._info, self._spec, self._splits)})"

    __str__ = __repr__  # Lightning's makes every loader, which loads the data

    def _load(self) -> None:
        """Prepare and set up the data where no trainer does."""
        if self._spec is None:
            if self.trainer is None:
                self.prepare_data()
            self.setup()

    def _num_steps(self) -> int:
        """Return the number of training batches in an epoch."""
        max_steps = self.trainer.max_steps if self.trainer is not None else -1
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        if max_steps < 1:
            return DEFAULT_STEPS_PER_EPOCH
        return max_steps // VALIDATIONS_PER_RUN if max_steps % VALIDATIONS_PER_RUN == 0 else max_steps

    def _describe(self) -> DataSpec:
        """Build the `DataSpec` from the checked splits."""
        return describe(self._info, self._splits, self._class_names, self.min_combination)
