"""Check for the same image, or nearly the same one, under two classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.sets.inspection.check import CERTAIN, CheckedImages, CheckResult, Finding
from lightning_distill.sets.inspection.rates import null_rate

NAME = "contradictions"
#: Root mean square difference, as a fraction of the pixel range, below which two images count as nearly the same.
NEAR = 0.02
#: Images are compared at this side length first; an average never enlarges a root mean square difference.
SIDE = 32
#: Pairs that are named one by one.
MOST = 10


def check_contradictions(images: CheckedImages) -> CheckResult:
    """Compare every two images of different classes pixel by pixel.

    Args:
        images: Images of the set.
    """
    findings = []
    pairs = near_pairs(images.pixels, images.groups)
    for first, second, distance in pairs[:MOST]:
        names = [images.names[images.groups[number]] for number in (first, second)]
        alike = "are the same image" if distance == 0 else f"differ by {100 * distance:.2f} % of the pixel range"
        text = f"images {first} ({names[0]}) and {second} ({names[1]}) {alike}"
        findings.append(Finding(NAME, text, CERTAIN if distance == 0 else null_rate(NAME), (first, second)))
    if len(pairs) > MOST:
        numbers = tuple(sorted({number for pair in pairs for number in pair[:2]}))
        findings.append(Finding(NAME, f"{len(pairs) - MOST} more pairs of this kind", null_rate(NAME), numbers))
    note = f"pairs of two classes that differ by at most {100 * NEAR:g} %; shifted or mirrored copies are not searched"
    return CheckResult(findings, note)


def near_pairs(pixels: Tensor, groups: Tensor, near: float = NEAR) -> list[tuple[int, int, float]]:
    """Return pairs of images of different groups with a small root mean square difference, closest first.

    Args:
        pixels: Images ``(M, C, H, W)`` float32.
        groups: Group of each image ``(M,)``.
        near: Largest difference.
    """
    size = (min(SIDE, pixels.shape[2]), min(SIDE, pixels.shape[3]))
    exact = all(side % small == 0 for side, small in zip(pixels.shape[2:], size, strict=True))
    small = F.adaptive_avg_pool2d(pixels, size).flatten(1)  # (M, D)
    slack = 1.0 if exact else 1.5  # windows of unequal size overlap
    limit, pairs = near * slack * small.shape[1] ** 0.5 + 1e-3, []
    for start in range(0, len(small), 256):
        rows = small[start : start + 256]
        distances = torch.cdist(rows, small)
        close = (distances <= limit) & (groups[start : start + 256, None] != groups)
        for row, column in close.nonzero().tolist():
            first, second = start + row, column
            if first < second:
                distance = float((pixels[first] - pixels[second]).square().mean().sqrt())
                if distance <= near:
                    pairs.append((first, second, distance))
    return sorted(pairs, key=lambda pair: pair[2])
