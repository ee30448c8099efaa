"""Attack-based audit of sets: what a shared set reveals about the images it was made from."""

from __future__ import annotations

from lightning_distill.leakage.attacks import ATTACKS, Attack
from lightning_distill.leakage.audit import audit_set
from lightning_distill.leakage.evidence import Evidence
from lightning_distill.leakage.result import AttackRow, AuditResult
from lightning_distill.leakage.signal_audit import audit_signals
from lightning_distill.sets.leakage_record import attach_audit, read_audit

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackRow",
    "AuditResult",
    "Evidence",
    "attach_audit",
    "audit_set",
    "audit_signals",
    "read_audit",
]
