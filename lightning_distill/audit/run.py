"""All checks, one after the other."""

from __future__ import annotations

from dataclasses import replace

from lightning_distill.audit.classes import report_classes, report_groups
from lightning_distill.audit.exact_duplicates import find_copies, report_copies
from lightning_distill.audit.findings import Finding, ProgressCallback
from lightning_distill.audit.image_checks import find_constant, find_text, report_constant, report_text
from lightning_distill.audit.near_duplicates import find_near_duplicates, report_near_copies
from lightning_distill.audit.transforms import families
from lightning_distill.data.checks.groups import SPLITS
from lightning_distill.data.checks.splits import RawSplits, check_alike

#: From this likeness on, an image is nearly another: see `likeness.ImageSimilarity` for what it finds and what it misses.
NEAR = 0.95
#: A split may have so large a share of images that are nearly one of an earlier split. One in a hundred can move its
#: accuracy by one point, which is what students differ by among themselves; chance gave a tenth of it at most.
MAX_NEAR = 0.01


def audit(
    given: RawSplits, near: float = NEAR, max_near: float = MAX_NEAR, tick: ProgressCallback = lambda images: None
) -> list[Finding]:
    """Look for everything that makes scores on some data wrong, or doubtful.

    What blocks: an image or a patient in two splits, near copies of more images of a split than ``max_near``, one image
    with different labels in two splits, a class that train lacks, a label without a class. What warns: fewer near
    copies, copies and different labels within a split, a class that val or test lacks, images with nothing on them,
    letters in the image. The worst comes first.

    Args:
        given: the data, `ArrayDataModule.load_splits`.
        near: likeness from which an image is nearly another, as it lies, mirrored, turned or shifted.
        max_near: the share of a split's images, 0 to 1, above which near copies block; 1 only warns.
        tick: called with the number of images looked at, `work` in all.

    Raises:
        ValueError: ``near`` is not in (0, 1], ``max_near`` not in [0, 1], or the splits have images of other sizes.
    """
    if not 0 < near <= 1:
        raise ValueError(f"near={near}; a likeness lies in (0, 1], and .95 finds copies")
    if not 0 <= max_near <= 1:
        raise ValueError(f"max_near={max_near}; a share lies in [0, 1]: .01 blocks above one image in a hundred")
    given = replace(given, splits={split: given.splits[split] for split in SPLITS if split in given.splits})
    check_alike(splits := given.splits)
    constant = find_constant(splits, tick)
    empty = {place.where for place in constant}
    copies = report_copies(find_copies(splits, empty, tick), splits)
    exact = {place.where for place in copies[0].places}
    findings = [
        *copies,
        report_near_copies(find_near_duplicates(given, near, empty | exact, tick), given, near, max_near),
        report_groups(given),
        *report_classes(given),
        report_constant(constant),
        report_text(find_text(splits, tick), splits),
    ]
    order = ("blocks", "warns", "unknown", "ok")
    return sorted(findings, key=lambda finding: order.index(finding.status))


def total_work(given: RawSplits) -> int:
    """How many images `audit` tells ``tick`` of, at most."""
    counts = [len(given.splits[split][1]) for split in SPLITS if split in given.splits]
    searches = len(families(*given.splits["train"][0].shape[2:]))
    return (3 + searches) * sum(counts) + searches * sum(place * count for place, count in enumerate(counts))
