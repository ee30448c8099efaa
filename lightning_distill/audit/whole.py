"""All checks, one after the other."""

from __future__ import annotations

from dataclasses import replace

from lightning_distill.audit.composition import judge_classes, judge_groups
from lightning_distill.audit.copies import find_copies, judge_copies
from lightning_distill.audit.findings import Finding, Tick
from lightning_distill.audit.near import find_near, judge_near
from lightning_distill.audit.pixels import find_constant, find_writing, judge_constant, judge_writing
from lightning_distill.data.groups import SPLITS
from lightning_distill.data.splits import Given, check_alike

#: From this likeness on, an image is nearly another: see `likeness.Likeness` for what it finds and what it misses.
NEAR = 0.95


def audit(given: Given, near: float = NEAR, tick: Tick = lambda images: None) -> list[Finding]:
    """Look for everything that makes scores on some data wrong, or doubtful.

    What blocks: an image or a patient in two splits, one image with different labels in two splits, a class that train
    lacks, a label without a class. What warns: near copies, copies and different labels within a split, a class that
    val or test lacks, images with nothing on them, letters in the image. The worst comes first.

    Args:
        given: the data, `ArrayDataModule.given`.
        near: likeness from which an image is nearly another.
        tick: called with the number of images looked at, `work` in all.

    Raises:
        ValueError: ``near`` is not in (0, 1], or the splits have images of other sizes.
    """
    if not 0 < near <= 1:
        raise ValueError(f"near={near}; a likeness lies in (0, 1], and .95 finds copies")
    given = replace(given, splits={split: given.splits[split] for split in SPLITS if split in given.splits})
    check_alike(splits := given.splits)
    constant = find_constant(splits, tick)
    empty = {place.where for place in constant}
    copies = judge_copies(find_copies(splits, empty, tick), splits)
    exact = {place.where for place in copies[0].places}
    findings = [
        *copies,
        judge_near(*find_near(given, near, empty | exact, tick), given, near),
        judge_groups(given),
        *judge_classes(given),
        judge_constant(constant),
        judge_writing(find_writing(splits, tick), splits),
    ]
    order = ("blocks", "warns", "unknown", "ok")
    return sorted(findings, key=lambda finding: order.index(finding.status))


def work(given: Given) -> int:
    """How many images `audit` tells ``tick`` of, at most."""
    counts = [len(given.splits[split][1]) for split in SPLITS if split in given.splits]
    return 4 * sum(counts) + sum(place * count for place, count in enumerate(counts))
