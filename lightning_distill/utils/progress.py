"""Type of functions that report the progress of long work."""

from __future__ import annotations

from collections.abc import Callable

#: Function that is called once after each unit of work, such as an epoch of a student.
ProgressCallback = Callable[[], object]
