"""Callbacks: score, draw and export a set; record experts."""

from lightning_distill.callbacks.experts import ExpertTrajectories
from lightning_distill.callbacks.export import ExportSyntheticSet
from lightning_distill.callbacks.images import SyntheticImages
from lightning_distill.callbacks.students import StudentEvaluation

__all__ = ["ExpertTrajectories", "ExportSyntheticSet", "StudentEvaluation", "SyntheticImages"]
