"""Candidates of a membership attack: the training images, their patients, and held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.content import content_digest
from lightning_distill.data.checks.label_combinations import is_covered
from lightning_distill.sets.training_images import ENTRY, count_training_images, rows_trained_on
from lightning_distill.spec import DataSpec

Rows = NDArray[np.int64]
#: Least share of the hashes in a card that the training images of an audit have; equal images have equal hashes.
MIN_FOUND = 0.98


@dataclass(frozen=True)
class Members:
    """Training images whose membership is attacked, and held-out images, which no shadow set is made from.

    Args:
        spec: Description of the data.
        images: Training images ``(n, C, H, W)`` in pixel units, in memory or on disk.
        labels: Labels ``(n,)`` or 0/1 targets ``(n, L)``.
        strata: Balance group of each image ``(n,)``; -1 for a rare label combination of multi-label data.
        units: Patient of each image, numbered from 0, ``(n,)``; the image itself where patients are unknown.
        has_patients: Whether patients (or lesions, volumes, files) are known.
        kind: Name of a unit: ``image``, or the kind of the groups.
        held_images: Validation images ``(m, C, H, W)``.
        held_labels: Their labels.
        held_units: Their patients, numbered from 0, ``(m,)``.
    """

    spec: DataSpec
    images: Array
    labels: Rows
    strata: Rows
    units: Rows
    has_patients: bool
    kind: str
    held_images: Array
    held_labels: Rows
    held_units: Rows

    def __len__(self) -> int:
        """Return the number of training images."""
        return len(self.labels)

    @property
    def num_units(self) -> int:
        """Number of patients, or of images where patients are unknown."""
        return int(self.units.max()) + 1

    @cached_property
    def digest(self) -> str:
        """Hash of the training and held-out images, their labels and their patients."""
        training = self.images, np.column_stack([self.labels, self.units])
        return content_digest([training, (self.held_images, np.column_stack([self.held_labels, self.held_units]))])


def members_of(datamodule: ArrayDataModule) -> Members:
    """Return the training and validation images of a data module with their patients.

    Args:
        datamodule: Data that a set is made from.
    """
    datamodule.prepare_data()
    datamodule.setup()
    spec, (images, labels) = datamodule.spec, datamodule.all_train_arrays()
    held_images, held_labels = datamodule.splits["val"]
    strata = np.asarray(labels, np.int64)
    if spec.multi_label:
        rows, numbers = is_covered(labels, spec.combinations)
        strata = np.full(len(labels), -1)
        strata[rows] = numbers
    known = "train" in datamodule.groups
    units = _numbered(datamodule.groups["train"]) if known else np.arange(len(labels))
    held_units = (
        _numbered(datamodule.groups["val"]) if known and "val" in datamodule.groups else np.arange(len(held_labels))
    )
    kind = datamodule.group_kind if known else "image"
    return Members(spec, images, labels, strata, units, known, kind, held_images, held_labels, held_units)


def check_members(members: Members, own: DataSpec, card: Mapping[str, object]) -> None:
    """Raise ValueError for a set of other images than the members, by form and by the hashes in its card.

    Args:
        members: Images that the set is said to be made from, and held-out images.
        own: Specification of the set.
        card: Card of the set; without hashes of its training images the form alone is compared.
    """
    spec, entry = members.spec, card.get(ENTRY)
    for name in ("shape", "class_names"):
        if getattr(own, name) != getattr(spec, name):
            raise ValueError(
                f"the set's {name} is {getattr(own, name)}, that of the data {getattr(spec, name)}; give the data that "
                "the set was made from"
            )
    total, kept = count_training_images(entry)
    if not kept:
        return
    found, held = (len(rows_trained_on(images, entry)) for images in (members.images, members.held_images))
    if total != len(members) or found < MIN_FOUND * kept:
        raise ValueError(
            f"the set was made from {total} images, and {found} of the {len(members)} training images of {spec.name} "
            "are among those; give the data and the split that the set was made from"
        )
    if held > (1 - MIN_FOUND) * len(members.held_labels):
        raise ValueError(
            f"{held} of the {len(members.held_labels)} validation images of {spec.name} are among the images that the "
            "set was made from; give the split that it was made from"
        )


def _numbered(groups: Rows) -> Rows:
    return np.asarray(np.unique(groups, return_inverse=True)[1].ravel(), np.int64)
