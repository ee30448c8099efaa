"""``Entry``: one file of a folder, with split, labels, patient and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_distill.data.checks.groups import SPLITS

#: Split by accepted name in folders and tables.
SPLIT_NAMES = {split: split for split in SPLITS} | {
    "training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """File of a data set.

    Args:
        path: Path below the root, e.g. ``a/b.png``.
        split: Split of the file: ``train``, ``val`` or ``test``.
        labels: Class names of the file; multi-label data may have none or several.
        patient: Number that all files of one patient share; ``None`` if unknown.
        mask: Path of the mask of a volume below the root; ``None`` if masks are not read.
    """

    path: str
    split: str
    labels: tuple[str, ...]
    patient: int | None = None
    mask: str | None = None


def shorten_list(names: Sequence[str]) -> str:
    """Return the first three names, quoted, and the number of the others."""
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
