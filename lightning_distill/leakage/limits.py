"""Things that an audit did not measure, in words."""

from __future__ import annotations

from lightning_distill.leakage.members import Members
from lightning_distill.leakage.result import AuditResult


def not_measured(result: AuditResult, members: Members, recovery: bool, canaries: int, has_set: bool) -> list[str]:
    """Return the things that an audit did not measure, in words.

    Args:
        result: Result of the audit.
        members: Candidates.
        recovery: Whether the recovery of the starts was to be measured.
        canaries: Number of canaries.
        has_set: Whether a finished set was attacked.
    """
    missing = []
    if not members.has_patients:
        missing.append("Patients are unknown in these data: images were counted, and a patient may have several.")
    if not has_set:
        missing.append("No finished set was attacked; the rates are those of sets made by the recipe.")
    if "full" not in result.utility:
        missing.append("Networks trained on all real images were not attacked (baseline full).")
    if not any("soft" in name or "hard" in name for name in result.utility):
        missing.append(
            "Soft labels, which tell more of the real data than images do, were not measured (baseline soft)."
        )
    if not canaries:
        missing.append("No lower bound on epsilon was measured (canaries).")
    if not recovery:
        missing.append("The recovery of the starting images was not measured.")
    if not any(name.startswith("dp ") for name in result.utility):
        missing.append("A variant with differential privacy was not compared (baseline dp).")
    missing += [
        "Choices made on the real data before, such as the best recipe or checkpoint, are not covered.",
        "Stronger attacks may exist: a rate is what these attacks reached, not what is possible.",
        "The strongest of several attacks is named, chosen on the same runs: where none works it is a bit too high.",
        "File names, image headers and text burnt into pixels were not looked at.",
    ]
    return missing
