"""Callbacks: score, draw and export a set."""

from lightning_distill.callbacks.export import ExportSyntheticSet
from lightning_distill.callbacks.images import SyntheticImages
from lightning_distill.callbacks.students import StudentEvaluation

__all__ = ["ExportSyntheticSet", "StudentEvaluation", "SyntheticImages"]
