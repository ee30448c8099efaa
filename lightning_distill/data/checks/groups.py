"""Number the patient or lesion groups of images, and resolve groups that are in two splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from lightning_utilities.core.rank_zero import rank_zero_warn
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Identifiers = Sequence[int] | Sequence[str] | NDArray[np.generic]
OnOverlap = Literal["error", "warn", "drop"]
#: Default kind of a group.
PATIENT = "patient or lesion"
#: Splits in order: overlapping groups are removed from the earlier split.
SPLITS = ("train", "val", "test")


def number_groups(given: Mapping[str, Identifiers]) -> dict[str, Rows]:
    """Replace identifiers by numbers from 0 in order of first appearance, consistent over all splits.

    The numbers do not reveal the identifiers or their order. ``7`` and ``"7"`` are one identifier.

    Args:
        given: Identifiers of the images by split, ``(N,)`` or ``(N, 1)``, integers or strings.

    Returns:
        Group numbers by split, ``(N,)`` int64.

    Raises:
        TypeError: The identifiers are neither integers nor strings.
        ValueError: An identifier is empty, or the shape is wrong.
    """
    names = {split: _as_text(identifiers, split) for split, identifiers in given.items()}
    if not names:
        return {}
    _, first, inverse = np.unique(np.concatenate(list(names.values())), return_index=True, return_inverse=True)
    numbers = np.empty(len(first), np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))  # sorted identifiers by first appearance
    ends = np.cumsum([len(part) for part in names.values()])
    return dict(zip(names, np.split(numbers[inverse.ravel()], ends[:-1]), strict=True))


def check_groups(groups: Mapping[str, Rows], images: Mapping[str, int]) -> None:
    """Validate that every group array belongs to a split and has one number per image.

    Args:
        groups: Group numbers ``(N,)`` by split.
        images: Number of images by split.

    Raises:
        ValueError: A split is unknown, or the number of groups differs from the number of images.
    """
    for split, numbers in groups.items():
        if split not in images:
            raise ValueError(f"groups of {split!r}, but the splits are {', '.join(images)}; name them alike")
        if len(numbers) != images[split]:
            raise ValueError(
                f"{split} has {images[split]} images but {len(numbers)} groups; "
                "give each image the number or name of its patient"
            )


@dataclass(frozen=True)
class Overlap:
    """Groups that two splits share.

    Args:
        splits: Names of the two splits.
        groups: Number of shared groups.
        rows: Rows of the images of these groups in each split.
    """

    splits: tuple[str, str]
    groups: int
    rows: tuple[Rows, Rows]

    def __str__(self) -> str:
        (one, other), (ours, theirs) = self.splits, self.rows
        shared = f"{one} and {other} share {self.groups:,} group{'s' * (self.groups != 1)} (patients or lesions)"
        return f"{shared}: {len(ours):,} of {one}'s images, {len(theirs):,} of {other}'s"


def overlaps(groups: Mapping[str, Rows]) -> list[Overlap]:
    """Return the overlaps of all pairs of splits, in the order train, val, test."""
    found = []
    for one, other in combinations([split for split in SPLITS if split in groups], 2):
        shared = np.intersect1d(groups[one], groups[other])
        if len(shared):
            ours, theirs = (np.flatnonzero(np.isin(groups[split], shared)) for split in (one, other))
            found.append(Overlap((one, other), len(shared), (ours, theirs)))
    return found


def resolve_overlaps(groups: Mapping[str, Rows], on_overlap: OnOverlap) -> dict[str, Rows]:
    """Raise, warn, or return the rows to keep if splits share groups.

    ``drop`` removes images from train if their group is in val or test, and from val if their group is in test. Test
    is not changed.

    Args:
        groups: Group numbers ``(N,)`` by split, consistent over all splits.
        on_overlap: Handling of shared groups: ``error``, ``warn`` or ``drop``.

    Returns:
        Rows to keep, for the splits that lose images only.

    Raises:
        ValueError: Splits share a group and ``on_overlap`` is ``error``, or ``drop`` would empty a split.
    """
    if not (shared := overlaps(groups)):
        return {}
    message = "; ".join(map(str, shared))
    if on_overlap == "error":
        raise ValueError(
            f"{message}. Test patients would be training patients: split the data by patient, or set "
            "on_overlap='drop' to leave those images out of train (and out of val where test has them), or 'warn'"
        )
    if on_overlap == "warn":
        rank_zero_warn(f"{message}. Scores are of patients that were trained on, and too good")
        return {}
    kept = {split: np.arange(len(numbers)) for split, numbers in groups.items()}
    for overlap in shared:
        kept[overlap.splits[0]] = np.setdiff1d(kept[overlap.splits[0]], overlap.rows[0])
    kept = {split: rows for split, rows in kept.items() if len(rows) < len(groups[split])}
    if gone := [split for split, rows in kept.items() if not len(rows)]:
        raise ValueError(
            f"{message}. on_overlap='drop' would leave no images in {', '.join(gone)}; split the data by patient"
        )
    counts = [f"{len(groups[split]) - len(rows):,} of {split}'s {len(groups[split]):,}" for split, rows in kept.items()]
    rank_zero_warn(f"on_overlap='drop' leaves out {' and '.join(counts)} images: a later split has their patients too")
    return kept


def check_on_overlap(on_overlap: str) -> None:
    """Raise ValueError if ``on_overlap`` is not ``error``, ``warn`` or ``drop``."""
    if on_overlap not in get_args(OnOverlap):
        raise ValueError(f"unknown on_overlap={on_overlap!r}; use one of {', '.join(get_args(OnOverlap))}")


def _as_text(identifiers: Identifiers, split: str) -> NDArray[np.str_]:
    """Convert identifiers to text ``(N,)``, so that equal identifiers of different dtypes are equal."""
    array = np.asarray(identifiers)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{split} groups have the shape {array.shape}; give one identifier an image, (N,)")
    if array.dtype == object:
        if wrong := {type(one).__name__ for one in array if not isinstance(one, (str, int, np.integer))}:
            raise TypeError(f"{split} groups hold {', '.join(sorted(wrong))}; give each image an integer or a string")
    elif array.dtype.kind not in "iubUS":
        raise TypeError(f"{split} groups are {array.dtype}; give each image an integer or a string")
    text = array.astype(np.str_)
    if count := int((np.char.strip(text) == "").sum()):
        raise ValueError(
            f"{split} has {count:,} image{'s' * (count != 1)} with an empty identifier, which would make one patient "
            "of them; give each unknown patient a name of its own"
        )
    return text
