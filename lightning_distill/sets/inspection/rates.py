"""How often the checks raise a finding in sets without the defect, as measured by ``benchmarks/inspection.py``."""

from __future__ import annotations

#: Sets with a finding and sets examined, by check and kind of set.
NULL_RATES: dict[str, dict[str, tuple[int, int]]] = {}


def null_rate(check: str) -> str:
    """Return the certainty of a check's findings as text.

    Args:
        check: Name of the check.
    """
    parts = [f"{found} of {total} {kind}" for kind, (found, total) in NULL_RATES.get(check, {}).items()]
    return f"also raised in {' and '.join(parts)}" if parts else "not measured"
