"""``FolderDataModule``: a folder of pictures, DICOM or NIfTI files, labelled by class folders or by a table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from lightning_distill.augmentation.presets import valid_for
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import PATIENT, OnOverlap
from lightning_distill.data.folder.decode import DecodedFolder, DecodeOptions, OnError, decode
from lightning_distill.data.folder.index import (
    SPLITS,
    Columns,
    Entry,
    list_folders,
    list_table,
    naming_below,
    shorten_list,
)
from lightning_distill.data.folder.resize import Color, Fit
from lightning_distill.data.readers import ReadOptions, Windows, is_volume
from lightning_distill.data.readers.base import Axis, Frames
from lightning_distill.data.readers.windows import parse_windows
from lightning_distill.spec import DataSpec

_FLAT = 0.02  # a spread below this share of the fixed range is little to see, and less in eight bits


class FolderDataModule(ArrayDataModule):
    """A folder of files: PNG, JPEG, TIFF (8 or 16 bits), DICOM, NIfTI.

    The files lie in class folders, ``root/train/ill/x.png`` or, without splits, ``root/ill/x.png``; or a CSV table
    names them: columns ``path`` (below root), ``label`` (``a|b`` for two; then an empty cell or ``No Finding`` is
    none), and if you have them ``patient`` and ``split`` (train, val, test). Without a val split one is carved out.

    Pixels are uint8 where all files have eight bits, else float32 in [0, 1] by a range that is fixed before any
    picture is seen: the window, else the bit depth. What it was is ``spec.scale``, which every card shows; ``spec.low``
    and ``spec.high`` are that range. Names of files, patients and tags stay here: only class names reach a card.

    ``groups[split]`` has a number for each image, equal for images of one patient, where a table has patients, the
    DICOM files say so (``groups="dicom"``), or one file gives several images.

    Args:
        root: the folder.
        table: a CSV table in UTF-8; a relative path is looked for from here, then below root.
        size: height and width in pixels that all images are resized to; ``None`` demands that they have one size.
        fit: ``stretch`` changes proportions, ``crop`` cuts out the middle square, ``pad`` adds black to a square.
        color: ``grey`` or ``rgb`` converts all files; ``keep`` demands that they are alike.
        window: for DICOM and NIfTI: ``lung``, ``abdomen``, ``brain``, ``subdural``, ``bone`` (HU), ``(center, width)``,
            a list of these as channels, or ``file`` for each DICOM file's own window. ``None`` takes the bit depth.
        assume_hu: take numbers for HU where a file does not say that they are.
        frames: of a file with several frames, pages or slices: the ``middle`` one, the ``first``, or ``all``; of NIfTI
            volumes also ``mask``, the slice in which a second volume marks the largest area (whatever is not 0, or
            what is ``mask_label``). A mask that marks nothing, or lies on another grid, makes its volume a damaged
            file. Which slices were taken follows the source in ``spec.source``, which every card shows.
        mask_label: the number in the masks that counts, where they outline several things, e.g. 2 of a liver's tumours.
        axis: the direction in which NIfTI volumes are cut.
        spacing: millimetres a voxel that NIfTI volumes are resampled to; ``None`` leaves them.
        mixed_photometric: accept DICOM files that are stored inverted (MONOCHROME1) beside others.
        groups: ``dicom`` takes files of one PatientID for one patient's; the table's column needs no word here.
        path_column: name of the table's column.
        label_column: the same.
        patient_column: the same.
        split_column: the same.
        mask_column: the same, for ``frames="mask"``: paths of the masks below root.
        multi_label: whether labels are several 0/1 targets; ``None`` looks for ``a|b`` in the table.
        class_names: the order of the classes; default sorted, numbers by size.
        on_error: ``skip`` leaves damaged files out, with one warning that counts them; ``skipped`` lists them.
        cache: folder where the decoded images are written once and mapped from then on: for data larger than memory
            and for slow formats. It holds the images themselves: guard it like the data.
        max_pixels: refuse a file that says it holds more.
        name: of the data, in cards and tables.
        modality: what the images show, a key of `presets.MODALITIES` such as ``chest_xray``, ``ct``, ``histology``:
            it chooses the augmentation. ``None`` has no mirror images, as sides may matter.
        augmentation: a preset of `presets.PRESETS`, instead of the modality's.
        license: licence of the data, for the card.
        source: where the files come from, for cards and tables.
        val_fraction: share of train carved out when there is no val split.
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        min_combination: of multi-label data, training images a combination of labels needs, see `ArrayDataModule`.
        combinations_as_classes: make multi-label data single-label ones, see `ArrayDataModule`.
        on_overlap: where a patient is in two splits: ``error``, ``warn`` or ``drop``, see `ArrayDataModule`.
        seed: of the draws and of a carved-out validation split.

    Raises:
        ValueError: an option that is not known, and on first use whatever is wrong with files or table.
        FileNotFoundError: no such root or table.
    """

    def __init__(
        self,
        root: str,
        table: str | None = None,
        size: int | None = None,
        fit: Fit = "stretch",
        color: Color = "keep",
        window: Windows = None,
        assume_hu: bool = False,
        frames: Frames = "middle",
        mask_label: int | None = None,
        axis: Axis = "axial",
        spacing: float | None = None,
        mixed_photometric: bool = False,
        groups: Literal["dicom"] | None = None,
        path_column: str = "path",
        label_column: str = "label",
        patient_column: str = "patient",
        split_column: str = "split",
        mask_column: str = "mask",
        multi_label: bool | None = None,
        class_names: list[str] | None = None,
        on_error: OnError = "error",
        cache: str | None = None,
        max_pixels: int = 1 << 28,
        name: str = "folder",
        modality: str | None = None,
        augmentation: str | None = None,
        license: str = "unknown",
        source: str = "user files",
        val_fraction: float = 0.1,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        min_combination: int | None = None,
        combinations_as_classes: bool = False,
        on_overlap: OnOverlap = "error",
        seed: int = 0,
    ) -> None:
        if modality is not None and augmentation is not None:
            raise ValueError(f"modality={modality!r} and augmentation={augmentation!r} both choose; leave one out")
        several = window is not None and len(parse_windows(window)) > 1
        usual = "dsa_grey_noflip" if several else "dsa_noflip"  # saturation would mix the windows
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
        choices = {"fit": (fit, Fit), "color": (color, Color), "on_error": (on_error, OnError)}
        for key, (value, kind) in choices.items():
            if value not in get_args(kind):
                raise ValueError(f"unknown {key}={value!r}; use one of {', '.join(get_args(kind))}")
        if groups not in (None, "dicom"):
            raise ValueError(f"unknown groups={groups!r}; use dicom, or a patient column in the table")
        if size is not None and size < 1:
            raise ValueError(f"size={size}; it must be at least 1")
        if multi_label is not None and table is None:
            raise ValueError(f"multi_label={multi_label} is for a table; class folders give one label a file")
        self.modality = modality
        self.root, self.table = Path(root), None if table is None else Path(table)
        self.cache = None if cache is None else Path(cache)
        if self.cache is not None and self.cache.resolve().is_relative_to(self.root.resolve()):
            raise ValueError("cache lies inside root, where it would pass for a class; choose a folder beside root")
        read = ReadOptions(window, assume_hu, frames, axis, spacing, max_pixels, mask_label)
        self.options = DecodeOptions(read, size, fit, color, mixed_photometric, on_error, groups == "dicom")
        if frames == "mask" and table is None:
            raise ValueError("frames='mask' needs a table that names a mask for each volume; give table=")
        masks = mask_column if frames == "mask" else None
        self.columns = Columns(path_column, label_column, patient_column, split_column, masks)
        self.multi_label, self._source = multi_label, source
        self._order, self._scale = class_names, ""
        #: Paths below root of damaged files that were left out.
        self.skipped: list[str] = []

    @property
    def reproducible_args(self) -> dict[str, object]:
        """What is done to the files, where it is not the default."""
        ours, plain = (_flat(options) for options in (self.options, DecodeOptions(ReadOptions())))
        shown = {} if self.modality is None else {"modality": self.modality}
        return {
            **super().reproducible_args,
            **shown,
            **{key: value for key, value in ours.items() if value != plain[key]},
        }

    def prepare_data(self) -> None:
        """Fill the cache, where there is one: of several processes, one writes it and all map it."""
        if self.cache is not None and self._spec is None:
            self._decode(self._entries())

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """List, read and label the files; what belongs together goes to ``groups``."""
        entries = self._entries()
        decoded = self._decode(entries)
        labels = self._label(entries)[decoded.files]
        patients, self.group_kind = _patients(entries, decoded)
        self._about = (*self._about[:4], self._called(entries))
        self._scale, self.skipped = decoded.scale, [entries[number].path for number in decoded.skipped]
        splits: dict[str, tuple[Array, Array] | None] = {}
        place = np.array([SPLITS.index(entry.split) for entry in entries])[decoded.files]
        for number, split in enumerate(SPLITS):
            if any(entry.split == split for entry in entries):
                start, stop = np.searchsorted(place, [number, number + 1])
                splits[split] = decoded.images[start:stop], labels[start:stop]
                if patients is not None:
                    self.groups[split] = patients[start:stop]
        return splits

    def _describe(self) -> DataSpec:
        spec = super()._describe()
        if spec.storage_dtype == "uint8":
            return replace(spec, intensity_scale=self._scale)
        if max(spec.std) < _FLAT:
            rank_zero_warn(
                f"the images use little of their fixed range ({self._scale}): their standard deviation is "
                f"{max(spec.std):.3g} of it; where the files are DICOM or NIfTI give window=(center, width) or a named "
                "one, else spread their values over all bits (12 bits times 16) and save them again"
            )
        return replace(spec, min_value=0.0, max_value=1.0, intensity_scale=self._scale)

    def _entries(self) -> list[Entry]:
        with naming_below(self.root):
            if self.table is None:
                entries = list_folders(self.root)
            else:
                table = self.table if self.table.is_file() or self.table.is_absolute() else self.root / self.table
                entries = list_table(self.root, table, self.columns, self.multi_label)
        return sorted(entries, key=lambda entry: (SPLITS.index(entry.split), entry.path))

    def _decode(self, entries: list[Entry]) -> DecodedFolder:
        paths, masks = [entry.path for entry in entries], [entry.mask for entry in entries]
        return decode(self.root, paths, self.options, self.cache, masks)

    def _called(self, entries: list[Entry]) -> str:
        """The source, and which slices were taken where there are volumes."""
        volumes = any(is_volume(entry.path) for entry in entries)
        return f"{self._source}, {self.options.read.slice_options}" if volumes else self._source

    def _label(self, entries: list[Entry]) -> NDArray[np.int64]:
        """Labels of the files ``(F,)``, or targets ``(F, L)``; the names of the classes become known here."""
        names = {label for entry in entries for label in entry.labels}
        trained = {label for entry in entries if entry.split == "train" for label in entry.labels}
        for split in ("val", "test"):
            seen = {label for entry in entries if entry.split == split for label in entry.labels}
            if unknown := sorted(seen - trained):
                raise ValueError(
                    f"{split} has the class {shorten_list(unknown)}, of which train has no images; correct the labels"
                )
        order = self._order if self._order is not None else sorted(names, key=_by_size)
        if set(order) != names or len(order) != len(names):
            raise ValueError(
                f"class_names are {shorten_list(order)} but the files have {shorten_list(sorted(names))}; name each once"
            )
        self._class_names = order
        number = {name: place for place, name in enumerate(order)}
        several = self.table is not None and (self.multi_label or any(len(entry.labels) != 1 for entry in entries))
        if not several:
            return np.array([number[entry.labels[0]] for entry in entries], np.int64)
        targets = np.zeros((len(entries), len(order)), np.int64)
        for row, entry in enumerate(entries):
            targets[row, [number[label] for label in entry.labels]] = 1
        return targets


def _patients(entries: list[Entry], decoded: DecodedFolder) -> tuple[NDArray[np.int64] | None, str]:
    """Numbers ``(N,)`` of what belongs together, and what that is.

    The table's patients, the files' own, or else images of one file.
    """
    if any(entry.patient is not None for entry in entries):
        return np.array([entry.patient for entry in entries], np.int64)[decoded.files], PATIENT
    if decoded.patients is not None:
        return decoded.patients, PATIENT
    several = len(set(decoded.files.tolist())) < len(decoded.files)
    return (decoded.files, "file") if several else (None, PATIENT)


def _flat(options: DecodeOptions) -> dict[str, object]:
    """Options by the names of the arguments they come from, sequences as the lists a command line takes."""
    flat: dict[str, object] = json.loads(json.dumps(asdict(options)))
    flat.update(cast(dict[str, object], flat.pop("read")))
    flat["groups"] = "dicom" if flat.pop("patients") else None
    return flat


def _by_size(name: str) -> tuple[float, str]:
    """Numbers by size, also ``1.0`` as pandas writes a column with gaps, and before names."""
    try:
        number = float(name)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf), name
