"""The largest memory a process has had, and what it has now."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Largest resident size of this process so far, MiB, pages of mapped files included.

    Linux hands ``ru_maxrss`` down from a parent to what it starts, so that a large parent would hide a small child;
    the high-water mark in ``/proc`` belongs to the process alone.
    """
    if (found := _status("VmHWM")) is not None:
        return found
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_mib() -> tuple[float, float]:
    """What is resident now, MiB: memory of the process's own, and pages of mapped files; NaN where nobody says."""
    own, mapped = _status("RssAnon"), _status("RssFile")
    return float("nan") if own is None else own, float("nan") if mapped is None else mapped


def _status(name: str) -> float | None:
    """A number of ``/proc/self/status``, MiB."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return None if found is None else int(found[1]) / 1024
