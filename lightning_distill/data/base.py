"""``ArrayDataModule``: arrays in memory or on disk, checked once, given out as class-balanced uint8 batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from lightning_distill._renamed import RenamedArguments
from lightning_distill.data.checks import label_combinations as combinations
from lightning_distill.data.checks.arrays import Array, Channels, as_images, as_labels, pixel_statistics
from lightning_distill.data.checks.groups import (
    PATIENT,
    Identifiers,
    OnOverlap,
    check_groups,
    check_on_overlap,
    number_groups,
    resolve_overlaps,
)
from lightning_distill.data.checks.splits import RawSplits, Split, carve_out, check_splits
from lightning_distill.data.loaders import ClassBalancedLoader, SequentialLoader
from lightning_distill.spec import FLOAT16_MAX, DataSpec, Task
from lightning_distill.utils.lazy_arrays import take


class ArrayDataModule(RenamedArguments, LightningDataModule):
    """Images and labels as arrays, with the three things a distiller asks of its data.

    ``spec`` (a `DataSpec`), ``train_arrays()`` and a ``train_dataloader()`` of class-balanced draws. Images keep
    their dtype in memory and on the device; the distiller normalises each batch by the training mean and std.
    Memory-mapped images, such as ``np.load(path, mmap_mode="r")``, stay on disk, see `lazy.FileArray`: in memory are
    labels and row numbers, 24 bytes an image or less, and what is looked at.

    Args:
        train: images uint8 or float, ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``, memory-mapped if you like,
            and labels ``(N,)``, ``(N, 1)`` or 0/1 targets ``(N, L)``.
        val: the same; if absent, ``val_fraction`` of train is carved out, stratified and seeded, by whole groups where
            train has some.
        test: the same; without it ``trainer.test`` has nothing to score.
        class_names: one a class; default ``"0"``, ``"1"``, ...
        name: the data set's name in cards and tables.
        task: ``None`` reads it off the labels: two classes are binary, ``(N, L)`` is multi-label.
        augmentation: a preset of `presets.PRESETS` that is valid for these images.
        license: licence of the data, for the card.
        source: where the bytes come from, for cards and tables.
        channels: place of the channels, where ``auto`` cannot tell.
        val_fraction: share of train carved out when ``val`` is absent.
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        min_combination: of multi-label data, training images that a combination of labels needs to play the part of a
            class when images are drawn and distilled (`DataSpec.balance_groups`); ``None`` takes a hundredth of all.
        combinations_as_classes: make multi-label data single-label ones: each such combination a class of its own,
            images with any other left out of every split.
        steps_per_epoch: batches between two validations; ``None`` validates five times in ``Trainer(max_steps=n)``
            where 5 divides n, else once, at the end.
        seed: of the draws and of the carved-out validation split.
        groups: by split the patient (or lesion) of each image, ``(N,)`` integers or strings that mean the same in every
            split. Only numbers of our own are kept of them.
        on_overlap: what to do where a group is in two splits: stop with an ``error``, ``warn`` and go on, or ``drop``
            from train the images whose group is in val or test too, and from val those whose group is in test.

    Raises:
        ValueError: on bad shapes, labels out of range, a class without images, one class only, NaN pixels, groups in
            two splits.
        TypeError: on wrong dtypes.
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
        self._given = {"train": train, "val": val, "test": test}
        self._about = (name, task, augmentation, license, source)
        self._class_names = class_names
        self.channels, self.val_fraction = channels, val_fraction
        self.real_per_class, self.batch_size = real_per_class, batch_size
        self.steps_per_epoch, self.seed = steps_per_epoch, seed
        self.min_combination, self.combinations_as_classes = min_combination, combinations_as_classes
        self.splits: dict[str, Split] = {}
        self.on_overlap: OnOverlap = on_overlap
        #: By split a number for each image, ``(N,)``, equal for images of one patient or lesion in whatever split,
        #: where that is known.
        self.groups: dict[str, NDArray[np.int64]] = {}
        #: What a group is; a ``volume`` or ``file`` that images were cut from says nothing of patients.
        self.group_kind = PATIENT
        self._numbered = number_groups(groups or {})
        self._spec: DataSpec | None = None
        self._covered: Split | None = None

    @property
    def spec(self) -> DataSpec:
        """Shape, classes, statistics. Loads the data on first use."""
        self.setup()
        assert self._spec is not None
        return self._spec

    @property
    def reproducible_args(self) -> dict[str, object]:
        """Arguments that make these data again, without any folder of this machine: what a result's command shows."""
        usual: dict[str, object] = {"min_combination": None, "combinations_as_classes": False, "on_overlap": "error"}
        return {key: given for key, value in usual.items() if (given := getattr(self, key)) != value}

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """The raw splits; subclasses read them from somewhere."""
        return self._given

    def setup(self, stage: str | None = None) -> None:
        """Load, check and describe the data, once."""
        if self._spec is not None:
            return
        given = self.load_splits()
        self.splits, self.groups = given.splits, given.groups
        for split, rows in resolve_overlaps(self.groups, self.on_overlap).items():
            self._choose(split, split, rows)
        if "val" not in self.splits:
            labels = self.splits["train"][1]
            train, val = carve_out(labels, self.val_fraction, self.seed, self.groups.get("train"))
            self._choose("val", "train", val)
            self._choose("train", "train", train)
        if self.combinations_as_classes:
            self._class_names = self._combine()
        self._spec = self._describe()
        about = {"dataset": self._spec.name, "source": self._spec.source, "real_per_class": self.real_per_class}
        self.save_hyperparameters(about)  # what loggers show of the data; no folder of this machine

    def load_splits(self) -> RawSplits:
        """Read the splits as they are, each checked by itself: what `setup` begins with and an audit looks at."""
        given = {split: arrays for split, arrays in self.load_raw().items() if arrays is not None}
        if "train" not in given:
            raise ValueError("no training images: ArrayDataModule(train=(images, labels)) needs them")
        splits = {}
        for split, (raw_images, raw_labels) in given.items():
            images = as_images(raw_images, split, self.channels)
            splits[split] = images, as_labels(raw_labels, len(images), split)
        groups = dict(self._numbered or self.groups)
        check_groups(groups, {split: len(labels) for split, (_, labels) in splits.items()})
        (name, *_, source), names = self._about, self._class_names
        return RawSplits(name, source, None if names is None else tuple(names), splits, groups, self.group_kind)

    def train_arrays(self) -> Split:
        """Training images ``(N, C, H, W)`` in pixel units, and labels ``(N,)``: numbers of `DataSpec.balance_groups`.

        All images, but of multi-label data those that have one of the combinations.

        Raises:
            ValueError: multi-label data with fewer than two combinations that have images enough.
        """
        if not self.spec.multi_label:
            return self.splits["train"]
        if self._covered is None:
            images, targets = self.splits["train"]
            rows, numbers = combinations.is_covered(targets, self.spec.combinations)
            self._covered = take(images, rows), numbers
            combinations.log_combinations(self.spec, self.splits["train"][1])
        return self._covered

    def all_train_arrays(self) -> Split:
        """All training images ``(N, C, H, W)`` in pixel units, and labels ``(N,)``, or 0/1 targets ``(N, L)``."""
        self.setup()
        return self.splits["train"]

    def train_dataloader(self) -> ClassBalancedLoader:
        """Class-balanced draws."""
        images, labels = self.train_arrays()
        return ClassBalancedLoader(
            images, labels, len(self.spec.balance_groups), self.real_per_class, self._epoch(), self.seed
        )

    def val_dataloader(self) -> SequentialLoader:
        """Every validation image once."""
        return SequentialLoader(*self._split("val"), self.batch_size)

    def test_dataloader(self) -> SequentialLoader:
        """Every test image once."""
        return SequentialLoader(*self._split("test"), self.batch_size)

    def _split(self, split: str) -> Split:
        self.setup()
        if split not in self.splits:
            raise ValueError(f"{self.spec.name} has no {split} split; give {split}=(images, labels)")
        return self.splits[split]

    def _choose(self, split: str, source: str, rows: NDArray[np.int64]) -> None:
        """Make some rows of one split the other, or what is left of it."""
        images, labels = self.splits[source]
        self.splits[split] = take(images, rows), labels[rows]
        if source in self.groups:
            self.groups[split] = self.groups[source][rows]

    def _epoch(self) -> int:
        max_steps = self.trainer.max_steps if self.trainer is not None else -1
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        if max_steps < 1:
            return 100
        return max_steps // 5 if max_steps % 5 == 0 else max_steps

    def _combine(self) -> tuple[str, ...]:
        """Make every split single-label, and return the classes' names.

        Raises:
            ValueError: labels that are single already, too few combinations, a split that is left without images.
        """
        if self.splits["train"][1].ndim == 1:
            raise ValueError("combinations_as_classes=True, but the labels are single ones; leave it out")
        multi = self._describe()
        combinations.log_combinations(multi, self.splits["train"][1])
        for split, (_, targets) in list(self.splits.items()):
            rows, numbers = combinations.is_covered(targets, multi.combinations)
            self._choose(split, split, rows)
            self.splits[split] = self.splits[split][0], numbers
            if split != "train":
                share = f"{len(rows):,} of {len(targets):,} {split} images ({len(rows) / len(targets):.1%})"
                rank_zero_info(f"{multi.name}: {share} are kept")
        return multi.balance_groups

    def _describe(self) -> DataSpec:
        name, task, augmentation, license, source = self._about
        images, labels = self.splits["train"]
        if labels.ndim == 2:
            task, classes = "multi-label", labels.shape[1]
        else:
            classes = len(self._class_names) if self._class_names is not None else int(labels.max()) + 1
        names = tuple(self._class_names) if self._class_names is not None else tuple(map(str, range(classes)))
        if len(names) != classes:
            raise ValueError(f"{classes} classes but {len(names)} class names: {', '.join(names)}")
        if classes < 2:
            raise ValueError(f"{name} has one class only ({names[0]!r}); distillation needs at least two")
        check_splits(self.splits, classes, names)
        mean, std, low, high = pixel_statistics(images)
        whole = images.dtype == np.uint8
        if max(-low, high) > FLOAT16_MAX:
            reach = f"pixels reach {max(-low, high):g}, float16 holds {FLOAT16_MAX:g}"
            raise ValueError(f"{reach}; divide the images of all splits by one number")
        return DataSpec(
            name=name,
            shape=(images.shape[1], images.shape[2], images.shape[3]),
            class_names=names,
            mean=mean,
            std=std,
            min_value=0.0 if whole else low,
            max_value=255.0 if whole else high,
            storage_dtype="uint8" if whole else "float16",
            task=task or ("binary" if classes == 2 else "multi-class"),
            augmentation=augmentation,
            license=license,
            source=source,
            combinations=combinations.frequent_combinations(labels, self.min_combination) if labels.ndim == 2 else (),
        )
