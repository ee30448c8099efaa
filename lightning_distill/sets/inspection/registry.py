"""Checks of an inspection. A new check is one file and one line."""

from __future__ import annotations

from lightning_distill.sets.inspection import contradictions, labels, outliers, triggers
from lightning_distill.sets.inspection.check import Check

CHECKS: dict[str, Check] = {
    labels.NAME: labels.check_labels,
    contradictions.NAME: contradictions.check_contradictions,
    outliers.NAME: outliers.check_outliers,
    triggers.NAME: triggers.check_triggers,
}
