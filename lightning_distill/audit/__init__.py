"""Leaks and faults in data, looked for before anything is trained on them."""

from lightning_distill.audit.findings import Finding, Place, Status
from lightning_distill.audit.run import audit, work

__all__ = ["Finding", "Place", "Status", "audit", "work"]
