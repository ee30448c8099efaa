"""Which images are of one patient or lesion, in numbers; and what to do where one is in two splits."""

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
#: What a group is where nothing else is said.
PATIENT = "patient or lesion"
#: The order matters: what is left out of a split is what a later one has too.
SPLITS = ("train", "val", "test")


def number_groups(given: Mapping[str, Identifiers]) -> dict[str, Rows]:
    """One number for one patient, in every split the same: the identifiers in the order they are first met, from 0.

    Nothing of the identifiers is left in the numbers, not even their order. ``7`` and ``"7"`` are one identifier.

    Args:
        given: by split an identifier for each image, ``(N,)`` or ``(N, 1)``, integers or strings.

    Returns:
        By split ``(N,)`` int64.

    Raises:
        TypeError: identifiers that are neither integers nor strings.
        ValueError: an image without an identifier, or a shape that is neither.
    """
    names = {split: _as_text(identifiers, split) for split, identifiers in given.items()}
    if not names:
        return {}
    _, first, inverse = np.unique(np.concatenate(list(names.values())), return_index=True, return_inverse=True)
    numbers = np.empty(len(first), np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))  # sorted identifiers, by where each is first met
    ends = np.cumsum([len(part) for part in names.values()])
    return dict(zip(names, np.split(numbers[inverse.ravel()], ends[:-1]), strict=True))


def check_groups(groups: Mapping[str, Rows], images: Mapping[str, int]) -> None:
    """Refuse groups that do not fit the images.

    Args:
        groups: by split ``(N,)``.
        images: by split how many there are.

    Raises:
        ValueError: groups of a split that is not there, or another number of them than of images.
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
    """Two splits that have groups in common.

    Args:
        splits: their names.
        groups: how many they share.
        rows: the images of these groups, by split.
    """

    splits: tuple[str, str]
    groups: int
    rows: tuple[Rows, Rows]

    def __str__(self) -> str:
        (one, other), (ours, theirs) = self.splits, self.rows
        shared = f"{one} and {other} share {self.groups:,} group{'s' * (self.groups != 1)} (patients or lesions)"
        return f"{shared}: {len(ours):,} of {one}'s images, {len(theirs):,} of {other}'s"


def overlaps(groups: Mapping[str, Rows]) -> list[Overlap]:
    """Every two splits that share a group, in the order train, val, test."""
    found = []
    for one, other in combinations([split for split in SPLITS if split in groups], 2):
        shared = np.intersect1d(groups[one], groups[other])
        if len(shared):
            ours, theirs = (np.flatnonzero(np.isin(groups[split], shared)) for split in (one, other))
            found.append(Overlap((one, other), len(shared), (ours, theirs)))
    return found


def resolve_overlaps(groups: Mapping[str, Rows], on_overlap: OnOverlap) -> dict[str, Rows]:
    """Stop, warn, or say which images stay, where splits share groups.

    ``drop`` takes from train the images whose group val or test has, and from val those whose group test has; test
    stays as it is.

    Args:
        groups: by split ``(N,)``, numbered over all splits together.
        on_overlap: ``error``, ``warn`` or ``drop``.

    Returns:
        The rows that stay, only of splits that lose some.

    Raises:
        ValueError: splits share a group and ``on_overlap`` is ``error``; or nothing of a split would be left.
    """
    if not (found := overlaps(groups)):
        return {}
    told = "; ".join(map(str, found))
    if on_overlap == "error":
        raise ValueError(
            f"{told}. Scores would be of patients that were trained on: split the data anew by patient, or set "
            "on_overlap='drop' to leave those images out of train (and out of val where test has them), or 'warn'"
        )
    if on_overlap == "warn":
        rank_zero_warn(f"{told}. Scores are of patients that were trained on, and too good")
        return {}
    kept = {split: np.arange(len(numbers)) for split, numbers in groups.items()}
    for overlap in found:
        kept[overlap.splits[0]] = np.setdiff1d(kept[overlap.splits[0]], overlap.rows[0])
    kept = {split: rows for split, rows in kept.items() if len(rows) < len(groups[split])}
    if gone := [split for split, rows in kept.items() if not len(rows)]:
        raise ValueError(f"{told}. on_overlap='drop' would leave no images in {', '.join(gone)}; split the data anew")
    counts = [f"{len(groups[split]) - len(rows):,} of {split}'s {len(groups[split]):,}" for split, rows in kept.items()]
    rank_zero_warn(f"on_overlap='drop' leaves out {' and '.join(counts)} images: a later split has their patients too")
    return kept


def check_on_overlap(on_overlap: str) -> None:
    """Raise a ValueError unless ``on_overlap`` is one of its three words."""
    if on_overlap not in get_args(OnOverlap):
        raise ValueError(f"unknown on_overlap={on_overlap!r}; use one of {', '.join(get_args(OnOverlap))}")


def _as_text(identifiers: Identifiers, split: str) -> NDArray[np.str_]:
    """Identifiers ``(N,)`` as text; one array type for all splits, so that equal ones are found equal."""
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
