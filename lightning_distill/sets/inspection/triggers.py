"""Check for a patch that is repeated over all images of a class: the trace of a backdoor trigger."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_distill.sets.inspection.check import CheckedImages, CheckResult, Finding
from lightning_distill.sets.inspection.patch_scores import Patch, best_patch
from lightning_distill.sets.inspection.rates import null_rate

NAME = "triggers"
#: Score from which a patch is a finding in images of at least 16 pixels, and in smaller ones, where structures of the
#: images themselves fill a patch. `rates` says how often images without trigger reach it.
THRESHOLD, SMALL_THRESHOLD, SMALL = 1.2, 2.5, 16
#: Fewest images of a class, and fewest images of other classes, that are compared.
FEWEST = 4
#: Most images of a class that are compared: the first ones.
MOST = 50
#: Planted patches that measure the sensitivity in a set, and their side in pixels (2 in images of fewer than 9).
TRIALS, PLANTED_SIDE = 40, 3
#: Margin around a planted patch that is scanned, in pixels.
_MARGIN = 3


def check_triggers(images: CheckedImages) -> CheckResult:
    """Scan every class for a repeated patch, and measure which planted patches the scan finds in this set.

    Args:
        images: Images of the set.
    """
    return CheckResult(find_triggers(images), _note(*_first_images(images.pixels, images.groups), images.names))


def find_triggers(images: CheckedImages) -> list[Finding]:
    """Return a finding for each class with a repeated patch.

    Args:
        images: Images of the set.
    """
    findings, limit = [], threshold(images.spec.shape)
    views = [("", *_first_images(images.pixels, images.groups))]
    if images.data.formation > 1:
        views.append((" of the stored images", *_first_images(images.stored, images.data.labels)))
    for place, scanned, labels in views:
        for group, patch in scan(scanned, labels, len(images.names)).items():
            if patch.score >= limit:
                where = f"{patch.size} x {patch.size} patch{place} at row {patch.row}, column {patch.column}"
                text = (
                    f"class {images.names[group]}: a {where} is nearly the same in at least 9 of 10 images and in no "
                    f"other class (score {patch.score:.1f}, threshold {limit:g})"
                )
                numbers = (images.groups == group).nonzero().flatten().tolist()
                findings.append(Finding(NAME, text, null_rate(NAME), tuple(numbers)))
    return findings


def threshold(shape: Sequence[int]) -> float:
    """Return the score from which a patch is a finding.

    Args:
        shape: Shape ``(C, H, W)`` of the images.
    """
    return THRESHOLD if min(shape[1:]) >= SMALL else SMALL_THRESHOLD


def scan(pixels: Tensor, groups: Tensor, count: int) -> dict[int, Patch]:
    """Return the best patch of each class that has enough images.

    Args:
        pixels: Images ``(M, C, H, W)`` float32, from 0 to 1.
        groups: Class of each image ``(M,)``.
        count: Number of classes.
    """
    return {group: best_patch(pixels, groups == group) for group in scannable(groups, count)}


def scannable(groups: Tensor, count: int) -> list[int]:
    """Return the classes with enough images, where the others have enough, too."""
    sizes = torch.bincount(groups, minlength=count).tolist()
    return [group for group, size in enumerate(sizes) if size >= FEWEST and len(groups) - size >= FEWEST]


def sensitivity(pixels: Tensor, groups: Tensor, count: int, pattern: str, trials: int = TRIALS) -> tuple[int, int]:
    """Plant a patch in all images of a class at a random position, and return how often the scan finds it.

    Args:
        pixels: Images ``(M, C, H, W)`` float32, from 0 to 1.
        groups: Class of each image ``(M,)``.
        count: Number of classes.
        pattern: ``square`` (the largest pixel value) or ``noise`` (random pixels).
        trials: Number of patches.

    Returns:
        Number of patches found, and number of trials; no trials where no class can be scanned or images are too small.
    """
    classes, side = scannable(groups, count), planted_side(pixels)
    room = [size - side + 1 for size in pixels.shape[2:]]
    if not classes or side < 2:
        return 0, 0
    generator, found, limit = torch.Generator().manual_seed(0), 0, threshold(pixels.shape[1:])
    for trial in range(trials):
        own = groups == classes[trial % len(classes)]
        row, column = (int(torch.randint(0, most, (1,), generator=generator)) for most in room)
        patch = torch.ones(side, side) if pattern == "square" else torch.rand(side, side, generator=generator)
        rows, columns = (slice(max(0, start - _MARGIN), start + side + _MARGIN) for start in (row, column))
        planted = pixels[:, :, rows, columns].clone()
        top, left = row - rows.start, column - columns.start
        planted[own, :, top : top + side, left : left + side] = patch
        found += best_patch(planted, own, (side,), whole=False).score >= limit
    return found, trials


def planted_side(pixels: Tensor) -> int:
    """Return the side of planted patches for images ``(M, C, H, W)``."""
    return min(PLANTED_SIDE, min(pixels.shape[2:]) // 3)


def _first_images(pixels: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first images of each class."""
    numbers = [(groups == group).nonzero().flatten()[:MOST] for group in groups.unique().tolist()]
    chosen = torch.cat(numbers).sort().values
    return pixels[chosen], groups[chosen]


def _note(pixels: Tensor, groups: Tensor, names: tuple[str, ...]) -> str:
    classes = scannable(groups, len(names))
    if not classes:
        return f"not possible: it takes two classes and {FEWEST} images in a class"
    skipped = len(names) - len(classes)
    scope = f"{len(classes)} of {len(names)} classes scanned" if skipped else "all classes scanned"
    rates = []
    for pattern, text in (("square", "bright squares"), ("noise", "random patterns")):
        found, trials = sensitivity(pixels, groups, len(names), pattern)
        rates += [f"{found} of {trials} planted {text}"] if trials else []
    side = planted_side(pixels)
    known = f"; in this set it finds {' and '.join(rates)} of {side} x {side} pixels" if rates else ""
    return f"{scope}{known}; triggers that move, blend or are in few images of a class are not seen"
