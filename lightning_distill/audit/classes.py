"""Check the classes and the patient groups of the splits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_distill.audit.findings import Finding, Place, plural
from lightning_distill.data.checks.groups import PATIENT, overlaps
from lightning_distill.data.checks.splits import RawSplits


def class_names(data: RawSplits) -> list[str]:
    """Return the class names, with numbers for labels without a name."""
    names = list(data.class_names or ())
    for _, labels in data.splits.values():
        most = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        names += [str(label) for label in range(len(names), most)]
    return names


def class_counts(data: RawSplits) -> dict[str, NDArray[np.int64]]:
    """Return the number of images per class ``(K,)`` by split. A multi-label image counts for each of its classes."""
    classes = len(class_names(data))
    return {
        split: np.bincount(np.nonzero(labels)[1] if labels.ndim == 2 else labels, minlength=classes)
        for split, (_, labels) in data.splits.items()
    }


def report_classes(data: RawSplits) -> list[Finding]:
    """Report classes without images, data of one class, and labels without a class.

    A single class and a class without training images block; a class missing in val or test warns, as it is not scored
    there.
    """
    names, counts = class_names(data), class_counts(data)
    missing = {split: [names[c] for c in np.flatnonzero(count == 0)] for split, count in counts.items()}
    parts = [f"{split} has no {', '.join(map(repr, classes))}" for split, classes in missing.items() if classes]
    count = sum(map(len, missing.values()))
    empty_classes = Finding(
        "a class without images in a split",
        "blocks" if missing["train"] else "warns" if count else "ok",
        count,
        "; ".join(parts) or "none",
    )
    findings = [empty_classes]
    if len(names) < 2:
        advice = data.advice or "a set needs two classes or more; put the images of each class into a folder of its own"
        findings.append(
            Finding("one class only", "blocks", 1, f"all images are {', '.join(map(repr, names))}; {advice}")
        )
    if data.class_names is None or len(names) == len(data.class_names):
        return findings
    known = len(data.class_names)
    unnamed = [Place(split, int(row)) for split, (_, labels) in data.splits.items() for row in _unnamed(labels, known)]
    return [
        *findings,
        Finding("a label without a class", "blocks", len(unnamed), f"labels above {known - 1}", tuple(unnamed)),
    ]


def report_groups(data: RawSplits) -> Finding:
    """Report patients in two splits, which block. The status is ``unknown`` if a split has no patient groups."""
    check, without = "a patient or lesion in two splits", [split for split in data.splits if split not in data.groups]
    if shared := overlaps(data.groups):
        places = [Place(overlap.splits[1], int(row)) for overlap in shared for row in overlap.rows[1]]
        images = len({place.where for place in places})
        return Finding(check, "blocks", images, "; ".join(map(str, shared)), tuple(places))
    if without:
        grouped = [split for split in data.splits if split in data.groups]
        reason = (
            f"only {' and '.join(grouped)} {'has' if len(grouped) == 1 else 'have'} patient groups"
            if grouped
            else "the data have no patient groups"
        )
        return Finding(check, "unknown", 0, f"{reason}; add patient or lesion identifiers to check this")
    if data.group_kind != PATIENT:
        reason = f"images are grouped by {data.group_kind} only, and no {data.group_kind} is in two splits"
        return Finding(check, "unknown", 0, f"{reason}; add patient identifiers to check this")
    groups = {split: len(np.unique(numbers)) for split, numbers in data.groups.items()}
    return Finding(
        check, "ok", 0, "none: " + ", ".join(f"{plural(n, 'group')} in {split}" for split, n in groups.items())
    )


def _unnamed(labels: NDArray[np.int64], known: int) -> NDArray[np.int64]:
    """Return the rows with a label that has no class name."""
    return np.flatnonzero(labels[:, known:].any(1) if labels.ndim == 2 else labels >= known)
