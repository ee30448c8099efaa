"""Scored images that a set was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from lightning_distill.sets.training_images import ENTRY, count_training_images, hash_training_images, rows_trained_on

#: Treatment of scored images that a set was trained on.
OnOverlap = Literal["error", "warn"]


def check_overlap(card: Mapping[str, Any], data: Any, split: str, on_overlap: OnOverlap = "error") -> int:
    """Refuse to score a set on images that it was trained on, by the hashes in its card.

    Images that the data's own training split holds too are a fault of the data, which ``audit-data`` names: they are
    counted in a warning, and the scores are still made.

    Args:
        card: Card of the set. Without the entry ``training_images`` nothing is known and nothing is said.
        data: Data module that scores the set; one without arrays is not checked.
        split: Split that scores the set: ``val`` or ``test``.
        on_overlap: ``error`` or ``warn``.

    Returns:
        Number of scored images that the set was trained on, as far as the card holds their hashes.

    Raises:
        ValueError: Images that are not in the data's own training split were trained on, and ``on_overlap`` is
            ``error``.
    """
    entry, splits = card.get(ENTRY), getattr(data, "splits", {})
    if not entry or split not in splits:
        return 0
    images = splits[split][0]
    rows = rows_trained_on(images, entry)
    if not len(rows):
        return 0
    own = np.zeros(0, np.int64)
    if "train" in splits and len(splits["train"][1]):
        shared = hash_training_images(splits["train"][0], limit=len(splits["train"][1]))
        own = rows_trained_on([images[int(row)] for row in rows], shared)
    count, (total, kept) = len(rows), count_training_images(entry)
    said = "at least " * (kept < total) + f"{count} of the {len(images)} {split} images of {data.spec.name} are among"
    text = f"{said} the {total} images that the set was trained on"
    if len(own) == count:
        warnings.warn(f"{text}, and in the training split of these data too; audit-data names them", stacklevel=2)
    elif on_overlap == "warn":
        warnings.warn(f"{text}: the scores say nothing about new images", stacklevel=2)
    else:
        raise ValueError(f"{text}; score it on other images, or pass on_overlap='warn' (--on_overlap warn)")
    return count
