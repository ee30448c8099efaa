"""Number the classes and the patients of the listed files."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.checks.groups import PATIENT
from lightning_distill.data.folder.decode import DecodedFolder
from lightning_distill.data.folder.index import Entry, shorten_list


def order_classes(entries: Sequence[Entry], class_names: Sequence[str] | None = None) -> list[str]:
    """Return the class names of the files in order: as requested, else sorted, with numbers by value.

    Args:
        entries: Listed files.
        class_names: Requested order; ``None`` sorts the names.

    Raises:
        ValueError: A class of val or test has no file in train, where there is a train split, or the requested names
            are not those of the files.
    """
    names = {label for entry in entries for label in entry.labels}
    trained = {label for entry in entries if entry.split == "train" for label in entry.labels}
    for split in ("val", "test"):
        seen = {label for entry in entries if entry.split == split for label in entry.labels}
        if trained and (unknown := sorted(seen - trained)):
            raise ValueError(
                f"{split} has the class {shorten_list(unknown)}, train has no images of it; correct the labels"
            )
    order = list(class_names) if class_names is not None else sorted(names, key=_numeric_order)
    if set(order) != names or len(order) != len(names):
        raise ValueError(
            f"class_names are {shorten_list(order)} but the files have {shorten_list(sorted(names))}; list each "
            "class once"
        )
    return order


def number_labels(entries: Sequence[Entry], order: Sequence[str], multi_label: bool) -> NDArray[np.int64]:
    """Return labels ``(F,)`` of the files, or 0/1 targets ``(F, L)``.

    Args:
        entries: Listed files.
        order: Class names in order.
        multi_label: Whether to return targets.
    """
    number = {name: index for index, name in enumerate(order)}
    if not multi_label:
        return np.array([number[entry.labels[0]] for entry in entries], np.int64)
    targets = np.zeros((len(entries), len(order)), np.int64)
    for row, entry in enumerate(entries):
        targets[row, [number[label] for label in entry.labels]] = 1
    return targets


def number_patients(entries: Sequence[Entry], decoded: DecodedFolder) -> tuple[NDArray[np.int64] | None, str]:
    """Return group numbers ``(N,)`` of the images and the kind of the groups.

    Groups are the patients of the table, else the patients of the DICOM files, else the files.

    Args:
        entries: Listed files.
        decoded: Images of the files.
    """
    if any(entry.patient is not None for entry in entries):
        return np.array([entry.patient for entry in entries], np.int64)[decoded.files], PATIENT
    if decoded.patients is not None:
        return decoded.patients, PATIENT
    multiple_frames = len(set(decoded.files.tolist())) < len(decoded.files)
    return (decoded.files, "file") if multiple_frames else (None, PATIENT)


def _numeric_order(name: str) -> tuple[float, str]:
    """Return a sort key: numbers by value (also ``1.0``, as pandas writes them), then names."""
    try:
        number = float(name)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf), name
