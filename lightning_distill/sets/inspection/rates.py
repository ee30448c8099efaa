"""How often the checks raise a finding in sets without the defect, as measured by ``benchmarks/inspection.py``."""

from __future__ import annotations

#: Sets with a finding and sets examined, by check and kind of set. Sums of the rows of ``inspection.csv``.
NULL_RATES: dict[str, dict[str, tuple[int, int]]] = {
    "contradictions": {"sets of real images": (3, 600), "distilled sets": (0, 24)},
    "outliers": {"sets of real images": (0, 600), "distilled sets": (0, 24)},
    "triggers": {"sets of real images": (0, 600), "distilled sets": (0, 24)},
}


def null_rate(check: str) -> str:
    """Return the certainty of a check's findings as text: how many clean sets have one, and a 95 % bound.

    Args:
        check: Name of the check.

    Example:
        >>> null_rate("triggers").startswith("raised in 0 of ")
        True
    """
    parts = [
        f"{found} of {total} {kind} (95 %: at most {100 * upper_bound(found, total):.1f} %)"
        for kind, (found, total) in NULL_RATES.get(check, {}).items()
    ]
    return f"raised in {' and '.join(parts)} without a defect"


def upper_bound(found: int, total: int) -> float:
    """Return the upper end of the two-sided 95 % Clopper-Pearson interval of a share.

    Args:
        found: Number of sets with a finding.
        total: Number of sets.

    Example:
        >>> round(upper_bound(0, 100), 4)
        0.0362
    """
    from scipy.stats import beta

    return 1.0 if found >= total else float(beta.ppf(0.975, found + 1, total - found))
