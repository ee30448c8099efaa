"""``FolderDataModule``: a folder of PNG, JPEG, TIFF, DICOM or NIfTI files with class folders or a CSV table."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from lightning_distill.augmentation.presets import valid_for
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import SPLITS, OnOverlap
from lightning_distill.data.checks.splits import RawSplits, Split
from lightning_distill.data.folder.arguments import check_choices, check_fractions, flatten_options
from lightning_distill.data.folder.column_names import Columns
from lightning_distill.data.folder.decode import DecodedFolder, DecodeOptions, OnError, decode
from lightning_distill.data.folder.index import Entry
from lightning_distill.data.folder.labels import number_labels, number_patients, order_classes
from lightning_distill.data.folder.layout import only_table
from lightning_distill.data.folder.listing import Listing, describe_source
from lightning_distill.data.folder.partition import MadeTestSplit
from lightning_distill.data.folder.resize import Color
from lightning_distill.data.image_size import ImageSize, square_side
from lightning_distill.data.readers import ReadOptions
from lightning_distill.data.readers.windows import parse_windows
from lightning_distill.data.scored_images import ScoredImages
from lightning_distill.spec import DataSpec
from lightning_distill.utils.resize import Fit

#: Defaults of the grouped options.
DEFAULT_READ, DEFAULT_COLUMNS = ReadOptions(), Columns()
_LOW_CONTRAST = 0.02  # a standard deviation below this fraction of the fixed range triggers a warning


class FolderDataModule(ArrayDataModule):
    """Folder of PNG, JPEG, TIFF (8 or 16 bits), DICOM or NIfTI files.

    Class folders give the labels, with or without split folders::

        root                          root
        |-- train                     |-- healthy
        |   |-- healthy               |   |-- 001.dcm
        |   |   `-- 001.dcm           |   `-- 002.dcm
        |   `-- ill                   `-- ill
        |       `-- 002.dcm               `-- 003.dcm
        |-- val
        `-- test

    Alternatively a CSV table has a row for each file: ``path`` (below root), ``label`` (``a|b`` for several labels; an
    empty cell or ``No Finding`` then means none) and optionally ``patient`` and ``split`` (train, val or test). Usual
    names such as ``file``, ``diagnosis`` and ``patient_id`` are recognised and logged.
    Without a val split, ``val_fraction`` of train becomes the validation split; without a test split, ``test_fraction``
    of train becomes the test split.

    Pixels are uint8 if all files have eight bits, else float32 in [0, 1], scaled by a range that does not depend on
    the pixel values: the window, or the bit depth. ``spec.intensity_scale``, ``spec.min_value`` and
    ``spec.max_value`` describe that range, and cards show it. File names, patients and tags reach no card: only class
    names do.

    ``groups[split]`` has a number for each image, equal for images of one patient, if the table has a patient column,
    if the files of all classes lie in patient folders (``ill/patient_01/x.dcm``), if ``groups="dicom"``, or if one
    file contains several images.

    Args:
        root: Path of the folder.
        table: Path of a CSV table in UTF-8, relative to the working directory or to root. ``None`` uses class folders,
            or the one table beside images that lie together.
        size: Height and width in pixels that all images are resized to: ``64`` or ``(64, 64)``. ``None`` requires
            images of equal size.
        fit: Method that makes an image square: ``stretch`` changes the proportions, ``crop`` cuts out the central
            square, ``pad`` adds a black border.
        color: Colour conversion of all files: ``grey``, ``rgb``, or ``keep``, which requires files of one kind.
        pattern: Pattern of the file names in class folders, e.g. ``*_flair.nii.gz``. ``None`` reads all images but
            masks; a pattern with the word ``mask``, ``seg`` etc. reads masks, too.
        read: Options of the file readers (`ReadOptions`): window, frames, slicing of volumes, limits.
        columns: Column names of the table (`Columns`).
        mixed_photometric: Accept DICOM files that are stored inverted (MONOCHROME1) beside files that are not.
        groups: Source of the patient groups: ``dicom`` uses the PatientID of DICOM files; ``None`` uses the patient
            column of the table, if there is one.
        multi_label: Whether the labels of the table are multi-label 0/1 targets. ``None`` detects ``a|b`` cells.
        class_names: Order of the classes. Default: sorted; numbers by value.
        on_error: Handling of damaged files: ``error`` raises, ``skip`` leaves them out with one warning that counts
            them, and ``skipped`` lists them.
        cache: Path of a folder in which the decoded images are written once and memory-mapped afterwards, for slow
            formats and for data larger than memory. It contains the images: protect it like the data.
        name: Name of the data set in cards and tables.
        modality: Kind of the images, a key of `presets.MODALITIES` such as ``chest_xray``, ``ct`` or ``histology``,
            which selects a valid augmentation. ``None`` selects one without mirroring, as sides may matter.
        augmentation: Preset of `presets.PRESETS` that replaces the augmentation of the modality.
        license: Licence of the data, for the card.
        source: Origin of the files, for cards and tables. The selected slices of volumes are appended.
        val_fraction: Fraction of train in the validation split if there is no val split, by patient where patients are
            known, stratified by class.
        test_fraction: Fraction of train in the test split if there is no test split, at most 0.5, by patient where
            patients are known, stratified by class. It must be set before a set is distilled: a set that was made from
            all images cannot be tested on some of them. Default 0: no test split is made. The card states it.
        real_per_class: Number of real images per class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of batches between two validations; see `ArrayDataModule` for the default.
        min_combination: Smallest number of training images of a label combination (multi-label data); see
            `ArrayDataModule` for the default.
        combinations_as_classes: Convert multi-label data to single-label data with one class per label combination;
            see `ArrayDataModule`.
        on_overlap: Handling of patients in two splits: ``error``, ``warn`` or ``drop``; see `ArrayDataModule`.
        seed: Seed of the batches and of the validation and test splits that are made.

    Raises:
        ValueError: An option is unknown or contradicts another; on first use also for invalid files or tables.
        FileNotFoundError: The root or the table does not exist (on first use).

    Example:
        >>> from lightning_distill.data.readers import ReadOptions
        >>> data = FolderDataModule("scans", size=64, groups="dicom", read=ReadOptions(window=["lung", "bone"]))
        >>> data.reproducible_args
        {'size': 64, 'read.window': ['lung', 'bone'], 'groups': 'dicom'}

        The same on the command line: ``--data FolderDataModule --data.root scans --data.size 64 --data.groups dicom
        --data.read.window [lung,bone]``.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        table: str | os.PathLike[str] | None = None,
        size: ImageSize | None = None,
        fit: Fit = "stretch",
        color: Color = "keep",
        pattern: str | None = None,
        read: ReadOptions = DEFAULT_READ,
        columns: Columns = DEFAULT_COLUMNS,
        mixed_photometric: bool = False,
        groups: Literal["dicom"] | None = None,
        multi_label: bool | None = None,
        class_names: list[str] | None = None,
        on_error: OnError = "error",
        cache: str | os.PathLike[str] | None = None,
        name: str = "folder",
        modality: str | None = None,
        augmentation: str | None = None,
        license: str = "unknown",
        source: str = "user files",
        val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        min_combination: int | None = None,
        combinations_as_classes: bool = False,
        on_overlap: OnOverlap = "error",
        seed: int = 0,
    ) -> None:
        if modality is not None and augmentation is not None:
            raise ValueError(f"modality={modality!r} and augmentation={augmentation!r} conflict; give one of them")
        multiple_windows = len(parse_windows(read.window)) > 1
        usual = "dsa_grey_noflip" if multiple_windows else "dsa_noflip"  # saturation would mix the windows
        super().__init__(
            name=name,
            augmentation=augmentation or (usual if modality is None else valid_for(modality)),
            license=license,
            source=source,
            channels="first",
            val_fraction=val_fraction,
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            min_combination=min_combination,
            combinations_as_classes=combinations_as_classes,
            on_overlap=on_overlap,
            seed=seed,
        )
        check_choices(fit, color, on_error)
        check_fractions(val_fraction, test_fraction)
        if groups not in (None, "dicom"):
            raise ValueError(f"unknown groups={groups!r}; use dicom, or a patient column in the table")
        side = None if size is None else square_side(size)
        if side is not None and side < 1:
            raise ValueError(f"size={size}; it must be at least 1")
        if multi_label is not None and table is None:
            raise ValueError(f"multi_label={multi_label} needs a table; class folders give one label per file")
        if read.frames == "mask" and table is None:
            raise ValueError("read.frames='mask' needs a table with the mask of each volume; give table")
        if pattern is not None and table is not None:
            raise ValueError(f"pattern={pattern!r} is for class folders, and table names its files; remove one of them")
        if table is None and pattern is None:
            table = only_table(Path(root))
        self.modality, self.pattern = modality, pattern
        self.root, self.table = Path(root), None if table is None else Path(table)
        self.cache = None if cache is None else Path(cache)
        if self.cache is not None and self.cache.resolve().is_relative_to(self.root.resolve()):
            raise ValueError("cache is inside root and would be read as a class; choose a folder outside root")
        self.options = DecodeOptions(read, side, fit, color, mixed_photometric, on_error, groups == "dicom")
        self.columns, self.multi_label, self.test_fraction = columns, multi_label, test_fraction
        self._source, self._class_order, self._scale = source, class_names, ""
        self._require_train = True
        masks, dicom = read.frames == "mask", groups == "dicom"
        self._listing = Listing(self.root, self.table, pattern, columns, multi_label, masks, dicom)
        self._listed: dict[bool, list[Entry]] = {}
        #: Paths below root of damaged files that were left out.
        self.skipped: list[str] = []

    @property
    def reproducible_args(self) -> dict[str, object]:
        """Non-default arguments that determine the pixels and labels, by their command line names."""
        arguments, defaults = (flatten_options(options) for options in (self.options, DecodeOptions(DEFAULT_READ)))
        modality = {} if self.modality is None else {"modality": self.modality}
        changed = {key: value for key, value in arguments.items() if value != defaults[key]}
        pattern = {} if self.pattern is None else {"pattern": self.pattern}
        made: dict[str, object] = {}
        if self.test_fraction:
            made = {"test_fraction": self.test_fraction, "val_fraction": self.val_fraction, "seed": self.seed}
        return {**super().reproducible_args, **modality, **pattern, **changed, **made}

    def prepare_data(self) -> None:
        """Write the cache, if there is one. One process writes it and all processes map it."""
        if self.cache is not None and self._spec is None:
            self._decode(self._entries())

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """List, read and label the files, and set ``groups``."""
        entries = self._entries()
        decoded = self._decode(entries)
        labels_vary = any(len(entry.labels) != 1 for entry in entries)
        multi_label = self.table is not None and (bool(self.multi_label) or labels_vary)
        self._class_names = order_classes(entries, self._class_order)
        labels = number_labels(entries, self._class_names, multi_label)[decoded.files]
        groups, self.group_kind = number_patients(entries, decoded)
        source = describe_source(self._source, entries, self.options.read.slice_options)
        resize = "none" if self.options.size is None else self.options.fit
        self._scale, self.skipped = decoded.scale, [entries[number].path for number in decoded.skipped]
        splits: dict[str, Split] = {}
        split_numbers = np.array([SPLITS.index(entry.split) for entry in entries])[decoded.files]
        for number, split in enumerate(SPLITS):
            if any(entry.split == split for entry in entries):
                start, stop = np.searchsorted(split_numbers, [number, number + 1])
                splits[split] = decoded.images[start:stop], labels[start:stop]
                if groups is not None:
                    self.groups[split] = groups[start:stop]
        if self.test_fraction:
            made = MadeTestSplit(self.test_fraction, self.seed)
            splits, unit = made.split(splits, self.groups, self.group_kind)
            source = f"{source}, {made.describe(unit)}"
        self._info = replace(self._info, source=source, resize=resize)
        return dict(splits)

    def setup(self, stage: str | None = None) -> None:
        """Load, check and describe the data on the first call, and warn before a fit if there is no test split.

        Args:
            stage: Stage of the trainer.
        """
        super().setup(stage)
        if stage == "fit" and "test" not in self.splits:
            rank_zero_warn(f"{self.spec.name} has no test split, so that no set can be tested: {self._advise_test()}")

    def load_splits(self) -> RawSplits:
        """Read the splits and check each one alone; see `ArrayDataModule.load_splits`."""
        if self.table is not None and all(entry.split != "train" for entry in self._entries()):
            raise ValueError(
                f"{self.table.name} has no rows of train; correct the column {self.columns.split!r}, or score a set "
                "on these images alone with evaluate --test_data"
            )
        return replace(super().load_splits(), advice=self._listing.unread_tables())

    def test_images(self) -> ScoredImages:
        """Return the test images alone: of class folders, of a folder ``test`` without ``train``, or of a table."""
        self._require_train = False
        try:
            return super().test_images()
        finally:
            self._require_train = True

    def advise_split(self, split: str) -> str:
        """Return the advice of error messages on a missing split: the way to provide it.

        Args:
            split: Name of the split, ``val`` or ``test``.
        """
        return self._advise_test() if split == "test" else super().advise_split(split)

    def _advise_test(self) -> str:
        column = f"name its rows in the column {self.columns.split!r} of the table"
        own = "add a folder test" if self.table is None else column
        return f"{own}, or set test_fraction=0.2 (--data.test_fraction 0.2), before a set is distilled from the images"

    def _describe(self) -> DataSpec:
        if self._class_names is not None and len(self._class_names) < 2 and (advice := self._listing.unread_tables()):
            raise ValueError(f"{self._info.name} has one class only ({self._class_names[0]!r}), and {advice}")
        spec = super()._describe()
        if spec.storage_dtype == "uint8":
            return replace(spec, intensity_scale=self._scale)
        if max(spec.std) < _LOW_CONTRAST:
            rank_zero_warn(
                f"the images use little of their fixed range ({self._scale}): their standard deviation is "
                f"{max(spec.std):.3g} of it; give read.window for DICOM and NIfTI files, or multiply the values of "
                "other files so that they use all bits (12 bits: times 16)"
            )
        return replace(spec, min_value=0.0, max_value=1.0, intensity_scale=self._scale)

    def _entries(self) -> list[Entry]:
        if self._require_train not in self._listed:
            self._listed[self._require_train] = self._listing.entries(self._require_train)
        return self._listed[self._require_train]

    def _decode(self, entries: list[Entry]) -> DecodedFolder:
        paths, masks = [entry.path for entry in entries], [entry.mask for entry in entries]
        return decode(self.root, paths, self.options, self.cache, masks)
