"""Check for constant and saturated images, and for pixels far outside those of the rest of the set."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.sets.inspection.check import CERTAIN, CheckedImages, CheckResult, Finding, listed
from lightning_distill.sets.inspection.rates import null_rate

NAME = "outliers"
#: Difference of the largest and the smallest pixel of a constant image, as a fraction of the pixel range.
CONSTANT = 2 / 255
#: Multiple of the scaled median absolute deviation, and least difference, above which a value is an outlier.
FACTOR, LEAST = 8.0, 0.35
#: Images of a smaller set are not compared with each other.
FEWEST = 5


def check_outliers(images: CheckedImages) -> CheckResult:
    """Compare each image's brightness, saturated pixels and isolated pixels with those of the others.

    Args:
        images: Images of the set.
    """
    pixels, findings = images.pixels, []
    flat = pixels.flatten(1)
    constant = (flat.amax(1) - flat.amin(1)) <= CONSTANT
    outside = ((flat < -1e-3) | (flat > 1 + 1e-3)).any(1)
    for mask, text in ((constant, "one constant value"), (outside, "pixels outside of the range that the card states")):
        if mask.any():
            numbers = mask.nonzero().flatten().tolist()
            message = f"{len(numbers)} of {len(flat)} images have {text}: {listed(numbers)}"
            findings.append(Finding(NAME, message, CERTAIN, tuple(numbers)))
    values = {
        "far brighter or darker than the rest": (flat.mean(1), True),
        "far more saturated pixels than the rest": (((flat <= 0) | (flat >= 1)).float().mean(1), False),
        "single pixels that stand out from their neighbours as in no other image": (isolated_pixels(pixels), False),
    }
    if len(flat) >= FEWEST:
        for text, (value, both_sides) in values.items():
            numbers = [n for n in robust_outliers(value, both_sides) if not constant[n]]
            if numbers:
                verb = "are" if text.startswith("far brighter") else "have"
                message = f"{len(numbers)} of {len(flat)} images {verb} {text}: {listed(numbers)}"
                findings.append(Finding(NAME, message, null_rate(NAME), tuple(numbers)))
    few = "" if len(flat) >= FEWEST else f"; fewer than {FEWEST} images, which are not compared with each other"
    return CheckResult(findings, f"brightness, saturation and isolated pixels of {len(flat)} images{few}")


def isolated_pixels(pixels: Tensor) -> Tensor:
    """Return the largest difference of a pixel of each image from the median of its 3 x 3 neighbourhood.

    Args:
        pixels: Images ``(M, C, H, W)``.
    """
    largest = []
    for image in pixels:
        around = F.unfold(F.pad(image[:, None], (1, 1, 1, 1), mode="replicate"), 3)  # (C, 9, H W)
        largest.append((image.flatten(1) - around.median(1).values).abs().amax())
    return torch.stack(largest)


def robust_outliers(values: Tensor, both_sides: bool) -> list[int]:
    """Return the numbers of values that are far from the median, in scaled median absolute deviations.

    Args:
        values: One number an image ``(M,)``.
        both_sides: Whether small values count, too.
    """
    difference = values - values.median()
    spread = 1.4826 * difference.abs().median()
    limit = max(LEAST, FACTOR * float(spread))
    distance = difference.abs() if both_sides else difference
    numbers: list[int] = (distance > limit).nonzero().flatten().tolist()
    return numbers
