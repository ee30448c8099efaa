"""Images that are there twice, byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Set
from itertools import combinations

import numpy as np

from lightning_distill.audit.findings import Finding, Place, ProgressCallback, Where, plural
from lightning_distill.audit.image_checks import chunks
from lightning_distill.data.checks.splits import Split

#: Images of one content: their splits and rows.
Copies = list[tuple[str, int]]


def find_copies(
    splits: dict[str, Split], skip: Set[Where] = frozenset(), tick: ProgressCallback = lambda images: None
) -> list[Copies]:
    """Images with the same sha256 of their bytes, in the order of splits and rows; only those that are there twice.

    Args:
        splits: images and labels.
        skip: splits and rows to leave out: images of one value only say nothing by being equal.
        tick: called with the number of images looked at.
    """
    found: dict[bytes, Copies] = {}
    for split, (images, _) in splits.items():
        for start, part in chunks(images):
            for row, image in enumerate(part, start):
                if (split, row) not in skip:
                    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
                    found.setdefault(digest, []).append((split, row))
            tick(len(part))
    return [copies for copies in found.values() if len(copies) > 1]


def report_copies(copies: list[Copies], splits: dict[str, Split]) -> list[Finding]:
    """Copies in two splits block and those within one warn; copies with different labels likewise."""
    across, within = list(_across(copies, list(splits))), list(_within(copies))
    torn = [same for same in copies if len({_label(splits, place) for place in same}) > 1]
    conflicts = [
        Place(*place, *same[0]) for same in torn for place in same if _label(splits, place) != _label(splits, same[0])
    ]
    apart = [same for same in torn if len({split for split, _ in same}) > 1]
    later = len({place.where for place in across})
    return [
        Finding(
            "the same image in two splits",
            "blocks" if later else "ok",
            later,
            f"{plural(later)} of a later split, byte by byte: split anew, or leave them out" if later else "none",
            tuple(across),
        ),
        Finding(
            "the same image twice in one split",
            "warns" if within else "ok",
            len(within),
            f"{plural(len(within))} more than once, and counted more than once" if within else "none",
            tuple(within),
        ),
        Finding(
            "the same image with other labels",
            "blocks" if apart else "warns" if torn else "ok",
            len(conflicts),
            f"{plural(len(torn))} with several labels ({len(apart):,} in two splits)" if torn else "none",
            tuple(conflicts),
        ),
    ]


def _across(copies: list[Copies], order: list[str]) -> Iterator[Place]:
    """For each two splits every image of the later that the earlier has, beside the first such image there."""
    for earlier, later in combinations(order, 2):
        for same in copies:
            first = next((row for split, row in same if split == earlier), None)
            if first is not None:
                yield from (Place(later, row, earlier, first) for split, row in same if split == later)


def _within(copies: list[Copies]) -> Iterator[Place]:
    """Every image that is not the first of its content in its split, beside that first one."""
    for same in copies:
        first: dict[str, int] = {}
        for split, row in same:
            if first.setdefault(split, row) != row:
                yield Place(split, row, split, first[split])


def _label(splits: dict[str, Split], place: tuple[str, int]) -> bytes:
    split, row = place
    return bytes(splits[split][1][row].tobytes())
