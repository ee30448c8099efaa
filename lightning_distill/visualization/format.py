"""How a report prints a number: the mean over students never without its spread and its interval."""

from __future__ import annotations

import math

from scipy import stats

from lightning_distill.evaluation.metrics.intervals import Estimate

#: Beside a mean over several students whose spread nobody has written down.
NO_SPREAD = "no spread given"


def half_interval(std: float, students: int, level: float = 0.95) -> float:
    """Half the width of the t-interval of a mean, ``t(n-1) std / sqrt(n)``; NaN for fewer than two students."""
    if students < 2:
        return math.nan
    return float(stats.t.ppf((1 + level) / 2, students - 1)) * std / math.sqrt(students)


def estimate(mean: float, std: float, half: float, students: int) -> Estimate:
    """What a row of a CSV says of a score; without ``half`` (NaN) the interval follows from ``std``."""
    half = half_interval(std, students) if math.isnan(half) else half
    return Estimate(mean, std, mean - half, mean + half, 0.95, students, "students")


def spread(value: Estimate, scale: float = 100.0, decimals: int = 1) -> str:
    """``84.3 ± 1.2``; ``84.3 (one student)`` where there is no spread, and a dash where nothing was measured."""
    if math.isnan(value.mean):
        return "-"
    mean = f"{scale * value.mean:.{decimals}f}"
    if not math.isnan(value.std):
        return f"{mean} ± {scale * value.std:.{decimals}f}"
    return f"{mean} (one student)" if value.n == 1 else f"{mean} ({NO_SPREAD})"


def bracket(value: Estimate, scale: float = 100.0, decimals: int = 1) -> str:
    """``[82.8, 85.8]``; empty where there is no interval."""
    if math.isnan(value.low):
        return ""
    return f"[{scale * value.low:.{decimals}f}, {scale * value.high:.{decimals}f}]"
