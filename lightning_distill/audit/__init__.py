"""Audit data for leaks and defects before training."""

from lightning_distill.audit.findings import Finding, Place, Status
from lightning_distill.audit.run import audit, total_work

__all__ = ["Finding", "Place", "Status", "audit", "total_work"]
