"""Leaks and faults in data, looked for before anything is trained on them."""

from lightning_distill.audit.findings import Finding, Place, Status
from lightning_distill.audit.run import audit, total_work

__all__ = ["Finding", "Place", "Status", "audit", "total_work"]
