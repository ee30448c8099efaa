"""Find images with identical bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Set
from itertools import combinations

import numpy as np

from lightning_distill.audit.findings import Finding, ImageCountCallback, Place, Where, plural
from lightning_distill.audit.image_checks import chunks
from lightning_distill.data.checks.splits import Split

#: Splits and rows of identical images.
Copies = list[tuple[str, int]]


def find_copies(
    splits: dict[str, Split], skip: Set[Where] = frozenset(), on_progress: ImageCountCallback = lambda images: None
) -> list[Copies]:
    """Return the groups of at least two images with the same SHA-256 of their bytes, in the order of splits and rows.

    Args:
        splits: Images and labels by split.
        skip: Splits and rows to ignore, e.g. constant images.
        on_progress: Function that is called with the number of processed images.
    """
    by_digest: dict[bytes, Copies] = {}
    for split, (images, _) in splits.items():
        for start, part in chunks(images):
            for row, image in enumerate(part, start):
                if (split, row) not in skip:
                    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
                    by_digest.setdefault(digest, []).append((split, row))
            on_progress(len(part))
    return [copies for copies in by_digest.values() if len(copies) > 1]


def report_copies(copies: list[Copies], splits: dict[str, Split]) -> list[Finding]:
    """Report identical images in two splits (blocks) or in one split (warns), and those with different labels.

    Different labels block if the images are in two splits, else they warn.
    """
    across, within = list(_across(copies, list(splits))), list(_within(copies))
    conflicting = [same for same in copies if len({_label(splits, place) for place in same}) > 1]
    conflicts = [
        Place(*place, *same[0])
        for same in conflicting
        for place in same
        if _label(splits, place) != _label(splits, same[0])
    ]
    conflicting_splits = [same for same in conflicting if len({split for split, _ in same}) > 1]
    later = len({place.where for place in across})
    return [
        Finding(
            "the same image in two splits",
            "blocks" if later else "ok",
            later,
            f"{plural(later)} of a later split, identical bytes; split again, or remove them" if later else "none",
            tuple(across),
        ),
        Finding(
            "the same image twice in one split",
            "warns" if within else "ok",
            len(within),
            f"{plural(len(within))} more than once; remove the copies" if within else "none",
            tuple(within),
        ),
        Finding(
            "the same image with different labels",
            "blocks" if conflicting_splits else "warns" if conflicting else "ok",
            len(conflicts),
            f"{plural(len(conflicting))} with several labels ({len(conflicting_splits):,} in two splits)"
            if conflicting
            else "none",
            tuple(conflicts),
        ),
    ]


def _across(copies: list[Copies], order: list[str]) -> Iterator[Place]:
    """Yield each image of a later split that an earlier split contains, with its first copy in the earlier split."""
    for earlier, later in combinations(order, 2):
        for same in copies:
            first = next((row for split, row in same if split == earlier), None)
            if first is not None:
                yield from (Place(later, row, earlier, first) for split, row in same if split == later)


def _within(copies: list[Copies]) -> Iterator[Place]:
    """Yield each repeated image of a split with its first copy in that split."""
    for same in copies:
        first: dict[str, int] = {}
        for split, row in same:
            if first.setdefault(split, row) != row:
                yield Place(split, row, split, first[split])


def _label(splits: dict[str, Split], place: tuple[str, int]) -> bytes:
    split, row = place
    return bytes(splits[split][1][row].tobytes())
