"""What the splits are made of: classes, and patients or lesions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_distill.audit.findings import Finding, Place, plural
from lightning_distill.data.checks.groups import PATIENT, overlaps
from lightning_distill.data.checks.splits import RawSplits


def class_names(given: RawSplits) -> list[str]:
    """The names of the classes; numbers for those that have labels but no name."""
    names = list(given.class_names or ())
    for _, labels in given.splits.values():
        most = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        names += [str(label) for label in range(len(names), most)]
    return names


def class_counts(given: RawSplits) -> dict[str, NDArray[np.int64]]:
    """Images of each class by split, ``(K,)``; an image of several classes counts for each."""
    classes = len(class_names(given))
    return {
        split: np.bincount(np.nonzero(labels)[1] if labels.ndim == 2 else labels, minlength=classes)
        for split, (_, labels) in given.splits.items()
    }


def report_classes(given: RawSplits) -> list[Finding]:
    """A class that train lacks blocks, since nobody can learn it; one that val or test lacks is not scored there."""
    names, counts = class_names(given), class_counts(given)
    lacking = {split: [names[c] for c in np.flatnonzero(count == 0)] for split, count in counts.items()}
    told = [f"{split} has no {', '.join(map(repr, lacks))}" for split, lacks in lacking.items() if lacks]
    count = sum(map(len, lacking.values()))
    absent = Finding(
        "a class without images in a split",
        "blocks" if lacking["train"] else "warns" if count else "ok",
        count,
        "; ".join(told) or "none",
    )
    if given.class_names is None or len(names) == len(given.class_names):
        return [absent]
    known = len(given.class_names)
    odd = [Place(split, int(row)) for split, (_, labels) in given.splits.items() for row in _unnamed(labels, known)]
    return [absent, Finding("a label without a class", "blocks", len(odd), f"labels above {known - 1}", tuple(odd))]


def report_groups(given: RawSplits) -> Finding:
    """A patient in two splits blocks; where a split does not say whose its images are, nobody knows."""
    check, without = "a patient or lesion in two splits", [split for split in given.splits if split not in given.groups]
    if found := overlaps(given.groups):
        places = [Place(overlap.splits[1], int(row)) for overlap in found for row in overlap.rows[1]]
        images = len({place.where for place in places})
        return Finding(check, "blocks", images, "; ".join(map(str, found)), tuple(places))
    if without:
        held = [split for split in given.splits if split in given.groups]
        known = f"only {' and '.join(held)} say whose images they are" if held else "the data do not say whose they are"
        return Finding(check, "unknown", 0, f"{known}: give patient or lesion numbers to have it checked")
    if given.group_kind != PATIENT:
        cut = f"images are known by the {given.group_kind} they were cut from"
        return Finding(check, "unknown", 0, f"{cut}, none of which is in two splits; give patients to have it checked")
    groups = {split: len(np.unique(numbers)) for split, numbers in given.groups.items()}
    return Finding(
        check, "ok", 0, "none: " + ", ".join(f"{plural(n, 'group')} in {split}" for split, n in groups.items())
    )


def _unnamed(labels: NDArray[np.int64], known: int) -> NDArray[np.int64]:
    """Rows with a label that has no name."""
    return np.flatnonzero(labels[:, known:].any(1) if labels.ndim == 2 else labels >= known)
