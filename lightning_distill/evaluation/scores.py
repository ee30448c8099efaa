"""The scores of several students, and what may be said of them together."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from scipy import stats


@dataclass
class Scores:
    """One dictionary of metrics for each student, as fractions, with what made it.

    Args:
        students: metrics by name.
        seeds: of the students.
        architectures: of the students.
        seconds: spent on training and scoring.
        recalls: of each class by name, for every student; classes without images are missing.
        diverged: seeds of students that diverged. Each keeps its place in the lists above, with the scores of one that
            finds all classes equally probable; the first class is then its answer, and ``acc`` that class' share.
    """

    students: list[dict[str, float]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    architectures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    recalls: list[dict[str, float]] = field(default_factory=list)
    diverged: list[int] = field(default_factory=list)

    @property
    def worst_class(self) -> str | None:
        """The class with the lowest mean recall over students; ``None`` where no recalls are known."""
        if not self.recalls:
            return None
        means = {name: statistics.fmean(recall[name] for recall in self.recalls) for name in self.recalls[0]}
        return min(means, key=means.__getitem__, default=None)

    def values(self, metric: str, architecture: str | None = None) -> list[float]:
        """One value a student, of one architecture or of all."""
        pairs = zip(self.students, self.architectures, strict=True)
        return [scores[metric] for scores, name in pairs if architecture in (None, name)]

    def by_architecture(self, metric: str) -> dict[str, list[float]]:
        """One value a student, apart for each architecture, in the order they came."""
        return {name: self.values(metric, name) for name in dict.fromkeys(self.architectures)}

    def mean(self, metric: str, architecture: str | None = None) -> float:
        """Mean over students."""
        return statistics.fmean(self.values(metric, architecture))

    def std(self, metric: str) -> float:
        """Sample standard deviation over students; NaN for a single one."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else float("nan")

    def half_interval(self, metric: str, level: float = 0.95) -> float:
        """Half the width of the t-interval of the mean over students; NaN for a single one."""
        n = len(self.students)
        return float(stats.t.ppf((1 + level) / 2, n - 1) * self.std(metric) / n**0.5) if n > 1 else float("nan")
