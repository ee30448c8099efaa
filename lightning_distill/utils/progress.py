"""Functions that report the progress of long work."""

from __future__ import annotations

from collections.abc import Callable

#: Function that is called once after each unit of work, such as an epoch of a student.
ProgressCallback = Callable[[], object]
#: Function that receives the description of the current part, the finished work and the total work.
ProgressReport = Callable[[str, int, int], object]


class ProgressCounter:
    """Count finished work and report it at the start of each part and after each step.

    Args:
        report: Function that receives description, finished work and total work. ``None`` reports nothing.
        total: Total work, in any unit.

    Example:
        >>> counter = ProgressCounter(print, total=3)
        >>> counter.start("first part")
        first part 0 3
        >>> counter.advance(2)
        first part 2 3
    """

    def __init__(self, report: ProgressReport | None, total: int) -> None:
        self.report, self.total, self.done, self.description = report, total, 0, ""

    def start(self, description: str) -> None:
        """Begin a part.

        Args:
            description: Description of the part.
        """
        self.description = description
        self.advance(0)

    def advance(self, amount: int = 1) -> None:
        """Add finished work.

        Args:
            amount: Amount of work, in the unit of ``total``.
        """
        self.done += amount
        if self.report is not None:
            self.report(self.description, self.done, self.total)
