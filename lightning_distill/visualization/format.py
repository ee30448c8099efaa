"""Number formats of the report. A mean over students is shown with its spread and interval."""

from __future__ import annotations

import math

from lightning_distill.evaluation.metrics.intervals import Estimate
from lightning_distill.utils.statistics import MIN_VALUES, t_interval

#: Note beside a mean over several students without a standard deviation.
NO_SPREAD = "no spread given"


def estimate(
    mean: float, std: float, half: float, students: int, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Create an estimate from a CSV row.

    Args:
        mean: Mean over students.
        std: Standard deviation over students; NaN if unknown.
        half: Half the width of the interval; NaN to compute it from ``std``.
        students: Number of students.
        bounds: Smallest and largest possible value of the metric.
    """
    low, high = t_interval(mean, std, students, bounds=bounds, half=half)
    return Estimate(mean, std, low, high, 0.95, students, "students")


def spread(value: Estimate, scale: float = 100.0, decimals: int = 1) -> str:
    """Format mean and spread: ``84.3 ± 1.2``, ``84.3 (one student)`` without a spread, a dash without a mean.

    Example:
        >>> spread(estimate(0.843, 0.012, float("nan"), 5))
        '84.3 ± 1.2'
    """
    if math.isnan(value.mean):
        return "-"
    mean = f"{scale * value.mean:.{decimals}f}"
    if not math.isnan(value.std):
        return f"{mean} ± {scale * value.std:.{decimals}f}"
    return f"{mean} (one student)" if value.n == 1 else f"{mean} ({NO_SPREAD})"


def bracket(value: Estimate, scale: float = 100.0, decimals: int = 1) -> str:
    """Format an interval such as ``[82.8, 85.8]``; empty without an interval, with the reason for two students.

    Example:
        >>> bracket(estimate(0.843, 0.012, float("nan"), 2))
        '(too few students)'
    """
    if math.isnan(value.low):
        few = 1 < value.n < MIN_VALUES and value.unit == "students" and not math.isnan(value.std)
        return "(too few students)" if few else ""
    return f"[{scale * value.low:.{decimals}f}, {scale * value.high:.{decimals}f}]"
