"""Interface of a check: the images of a set in, findings with their certainty out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec

#: Certainty of a finding that follows from the file alone.
CERTAIN = "certain"


@dataclass(frozen=True)
class Finding:
    """Something a receiver should look at.

    Args:
        check: Name of the check.
        text: One sentence on what was found.
        certainty: ``certain``, or how often the check raises such a finding in sets without the defect.
        images: Numbers of the images, counted from 0 in the order of ``load_set``.
    """

    check: str
    text: str
    certainty: str
    images: tuple[int, ...] = ()


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Args:
        findings: Findings; empty for a set that passed.
        note: One sentence on what was looked at, and what the check cannot see.
    """

    findings: Sequence[Finding]
    note: str


@dataclass(frozen=True)
class CheckedImages:
    """Images of a set as the checks see them.

    Args:
        pixels: Decoded images ``(M, C, H, W)`` float32; 0 and 1 are the ends of the pixel range of the card.
        stored: Images as they are stored ``(N, C, H, W)``, in the same units. Equal to ``pixels`` without sub-images.
        data: Set in its storage dtype.
        groups: Class, or label combination, of each decoded image ``(M,)``.
    """

    pixels: Tensor
    stored: Tensor
    data: LabeledSet
    groups: Tensor

    @property
    def spec(self) -> DataSpec:
        """Specification of the set."""
        return self.data.spec

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes or label combinations."""
        return self.spec.balance_groups


Check = Callable[[CheckedImages], CheckResult]


def checked_images(data: LabeledSet) -> CheckedImages:
    """Decode a set and scale its pixels.

    Args:
        data: Set as `storage.read_set` returns it.
    """
    spec, decoded = data.spec, data.decode()
    span = max(spec.max_value - spec.min_value, 1e-12)
    pixels, stored = ((images.float() - spec.min_value) / span for images in (decoded.pixels, data.pixels))
    return CheckedImages(pixels, stored, data, decoded.labels)


def listed(numbers: Sequence[int], most: int = 8) -> str:
    """Return numbers as text, the first few of many.

    Example:
        >>> listed([3, 1, 2], 2)
        '3, 1 and 1 more'
    """
    shown = ", ".join(map(str, numbers[:most]))
    return shown if len(numbers) <= most else f"{shown} and {len(numbers) - most} more"
