"""Scores of several students and their summary statistics."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

from lightning_distill.utils.statistics import t_half_width


@dataclass
class Scores:
    """Metrics of each student as fractions, with seeds and architectures.

    Args:
        students: Metrics by name, one dictionary per student.
        seeds: Seed of each student.
        architectures: Network name of each student.
        seconds: Seconds of training and scoring.
        recalls: Recall by class name, one dictionary per student, without classes that have no images.
        diverged: Seeds of diverged students. They stay in the lists above with the scores of equal class
            probabilities: the first class is predicted, and ``acc`` is its frequency.
    """

    students: list[dict[str, float]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    architectures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    recalls: list[dict[str, float]] = field(default_factory=list)
    diverged: list[int] = field(default_factory=list)

    @property
    def worst_class(self) -> str | None:
        """Class with the lowest mean recall over students; ``None`` if no recalls are known."""
        if not self.recalls:
            return None
        means = {name: statistics.fmean(recall[name] for recall in self.recalls) for name in self.recalls[0]}
        return min(means, key=means.__getitem__, default=None)

    def values(self, metric: str, architecture: str | None = None) -> list[float]:
        """List the values of a metric, of one architecture or of all students."""
        pairs = zip(self.students, self.architectures, strict=True)
        return [scores[metric] for scores, name in pairs if architecture in (None, name)]

    def by_architecture(self, metric: str) -> dict[str, list[float]]:
        """Group the values of a metric by architecture, in the order of the students."""
        return {name: self.values(metric, name) for name in dict.fromkeys(self.architectures)}

    def mean(self, metric: str, architecture: str | None = None) -> float:
        """Compute the mean over students."""
        return statistics.fmean(self.values(metric, architecture))

    def std(self, metric: str) -> float:
        """Compute the sample standard deviation over students; NaN for a single student or an undefined metric."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 and not any(map(math.isnan, values)) else math.nan

    def half_interval(self, metric: str, level: float = 0.95) -> float:
        """Compute the half width of the t-interval of the mean over students; NaN for a single student."""
        return t_half_width(self.std(metric), len(self.students), level)
