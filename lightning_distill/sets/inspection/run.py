"""``inspect_set``: verify a received set and look for defects."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from lightning_distill.sets.card import AUDIT, is_bound
from lightning_distill.sets.export.folder_files import CHECKSUMS, verify_checksums
from lightning_distill.sets.inspection.check import CERTAIN, CheckResult, Finding, checked_images
from lightning_distill.sets.inspection.registry import CHECKS
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.leakage_record import read_audit
from lightning_distill.sets.signature import SIGNATURE, Signature, verify_set
from lightning_distill.sets.storage import CARD, SET, Card, read_set
from lightning_distill.utils.errors import UntrustedSetError


@dataclass(frozen=True)
class Inspection:
    """Result of an inspection. The digest and the arrays of the set were verified.

    Args:
        data: Set in its storage dtype.
        card: Card of the set. Its maker wrote it: the digest shows that it belongs to the set, not that it is true.
        counts: Number of decoded images of each class or label combination, by name.
        results: Result of each check by name.
        signature: Verified signature, or None where no key was given.
        audit: Result of the audit in the card, as its maker wrote it; empty without one, and for one that was refused.
        audit_bound: Whether the audit is bound to the arrays of this set.

    Example:
        >>> from lightning_distill import inspect_set
        >>> inspection = inspect_set("runs/digits/best", verify="sender.pub.pem")  # doctest: +SKIP
        >>> for finding in inspection.findings:  # doctest: +SKIP
        ...     print(finding.text, finding.certainty)
    """

    data: LabeledSet
    card: Card
    counts: Mapping[str, int]
    results: Mapping[str, CheckResult]
    signature: Signature | None = None
    audit: Mapping[str, object] = field(default_factory=dict)
    audit_bound: bool = False

    @property
    def findings(self) -> list[Finding]:
        """Findings of all checks."""
        return [finding for result in self.results.values() for finding in result.findings]


def inspect_set(synthetic_set: str | os.PathLike[str], *, verify: str | os.PathLike[str] | None = None) -> Inspection:
    """Verify digest, arrays and signature of a set, and look for defects in labels and pixels.

    Args:
        synthetic_set: Path of ``set.safetensors``, of its folder, or of an export of a set.
        verify: Public ed25519 key of the sender, a PEM file. The signature ``set.sig`` must be beside the set.

    Returns:
        The set, its card, and findings with their certainty.

    Raises:
        UntrustedSetError: The set is damaged or was changed, or its signature is missing or wrong.
        FileNotFoundError: Set or key does not exist.
        ValueError: The key is no public ed25519 key in PEM form.
        MissingExtraError: ``verify`` is given and cryptography is not installed.
    """
    signature = None if verify is None else verify_set(synthetic_set, verify)
    try:
        data, card = read_set(synthetic_set)
    except ValueError as error:
        raise UntrustedSetError(str(error)) from error
    images = checked_images(data)
    counts = torch.bincount(images.groups, minlength=len(images.names)).tolist()
    audit, refused = _audit(data, card)
    file = _check_file(Path(synthetic_set), card)
    results = {"file": replace(file, findings=[*file.findings, *refused])}
    results |= {name: check(images) for name, check in CHECKS.items()}
    named = dict(zip(images.names, counts, strict=True))
    return Inspection(data, card, named, results, signature, audit, is_bound(card.get(AUDIT)) and not refused)


def _audit(data: LabeledSet, card: Card) -> tuple[Mapping[str, object], list[Finding]]:
    """Return the audit of a card; an audit of another set, or a changed one, is a finding in its place."""
    audit = card.get(AUDIT)
    if not is_bound(audit):
        return (audit if isinstance(audit, Mapping) else {}), []
    try:
        return read_audit(card, data) or {}, []
    except ValueError as error:
        return {}, [Finding("file", f"the audit is refused: {error}", CERTAIN)]


def _check_file(path: Path, card: Card) -> CheckResult:
    """Compare the card with its copy, and name what the digest does not cover."""
    findings = []
    if card.get("format", 1) == 1:
        text = "format version 1: the digest covers the arrays only, so that the card may have been changed"
        findings.append(Finding("file", text, CERTAIN))
    folder = path if path.is_dir() else path.parent
    copy = folder / CARD
    if (folder / SET).is_file() and copy.is_file():
        try:
            same = json.loads(copy.read_text(encoding="utf-8")) == card
        except (OSError, ValueError, RecursionError):
            same = False
        if not same:
            findings.append(Finding("file", f"{CARD} differs from the card in {SET}, which is the valid one", CERTAIN))
    if (folder / CHECKSUMS).is_file() and not (folder / SET).is_file():
        try:
            verify_checksums(folder, (SIGNATURE,))
        except ValueError as error:
            findings.append(Finding("file", str(error), CERTAIN))
    return CheckResult(findings, "digest, types, shapes and ranges of all arrays are valid")
