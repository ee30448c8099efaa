"""The largest memory a process has had."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Largest resident size of this process so far, MiB.

    Linux hands ``ru_maxrss`` down from a parent to what it starts, so that a large parent would hide a small child;
    the high-water mark in ``/proc`` belongs to the process alone.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
    except (OSError, TypeError):
        unit = 1024**2 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
