"""Run all checks of the audit."""

from __future__ import annotations

from dataclasses import replace

from lightning_distill.audit.classes import report_classes, report_groups
from lightning_distill.audit.exact_duplicates import find_copies, report_copies
from lightning_distill.audit.findings import Finding, ImageCountCallback
from lightning_distill.audit.image_checks import find_constant, find_text, report_constant, report_text
from lightning_distill.audit.near_duplicates import find_near_duplicates, report_near_copies
from lightning_distill.audit.transforms import families
from lightning_distill.data.checks.groups import SPLITS
from lightning_distill.data.checks.splits import RawSplits, check_alike

#: Default similarity of near-duplicates; `similarity.ImageSimilarity` lists measured hit rates.
NEAR = 0.95
#: Default of the largest tolerated fraction of near-duplicates in a split. One percent can change the accuracy by one
#: point, about as much as students differ among themselves; the chance level was at most a tenth of it.
MAX_NEAR = 0.01


def audit(
    data: RawSplits,
    near: float = NEAR,
    max_near: float = MAX_NEAR,
    on_progress: ImageCountCallback = lambda images: None,
) -> list[Finding]:
    """Check data for leaks and defects that bias scores.

    Blocking findings: an image or patient in two splits, more near-duplicates in a split than ``max_near``, one image
    with different labels in two splits, a class without training images, one class only, a label without a class.
    Warnings: fewer near-duplicates, copies and different labels within a split, a class missing in val or test,
    constant images, burnt-in text.

    Args:
        data: Raw splits from `ArrayDataModule.load_splits`.
        near: Smallest similarity of near-duplicates, in (0, 1]; also applied to mirrored, rotated and shifted images.
        max_near: Largest fraction of near-duplicates in a split that does not block, in [0, 1]; 1 never blocks.
        on_progress: Function that is called with the number of processed images; they add up to `total_work`.

    Returns:
        Findings by decreasing severity.

    Raises:
        ValueError: ``near`` or ``max_near`` is out of range, or the splits have images of different sizes.

    Example:
        >>> from lightning_distill import DigitsDataModule
        >>> {finding.status for finding in audit(DigitsDataModule().load_splits())}  # doctest: +SKIP
        {'ok', 'unknown'}
    """
    if not 0 < near <= 1:
        raise ValueError(f"near={near}; it must be in (0, 1], e.g. 0.95")
    if not 0 <= max_near <= 1:
        raise ValueError(f"max_near={max_near}; it must be in [0, 1], e.g. 0.01 for one percent of the images")
    data = replace(data, splits={split: data.splits[split] for split in SPLITS if split in data.splits})
    check_alike(splits := data.splits)
    constant = find_constant(splits, on_progress)
    empty = {place.where for place in constant}
    copies = report_copies(find_copies(splits, empty, on_progress), splits)
    exact = {place.where for place in copies[0].places}
    findings = [
        *copies,
        report_near_copies(find_near_duplicates(data, near, empty | exact, on_progress), data, near, max_near),
        report_groups(data),
        *report_classes(data),
        report_constant(constant),
        report_text(find_text(splits, on_progress), splits),
    ]
    order = ("blocks", "warns", "unknown", "ok")
    return sorted(findings, key=lambda finding: order.index(finding.status))


def total_work(data: RawSplits) -> int:
    """Return the largest number of images that `audit` reports to ``on_progress``."""
    counts = [len(data.splits[split][1]) for split in SPLITS if split in data.splits]
    searches = len(families(*data.splits["train"][0].shape[2:]))
    return (3 + searches) * sum(counts) + searches * sum(place * count for place, count in enumerate(counts))
