"""Peak and current resident memory of the process."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Return the peak resident size of this process in MiB, including pages of mapped files.

    On Linux a child process inherits ``ru_maxrss`` of its parent; the high-water mark in ``/proc`` is its own.
    """
    if (peak := _status("VmHWM")) is not None:
        return peak
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_mib() -> tuple[float, float]:
    """Return the resident memory outside and inside mapped files in MiB; NaN if unknown."""
    own, mapped = _status("RssAnon"), _status("RssFile")
    return float("nan") if own is None else own, float("nan") if mapped is None else mapped


def _status(name: str) -> float | None:
    """Read a field of ``/proc/self/status`` in MiB."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return None if found is None else int(found[1]) / 1024
