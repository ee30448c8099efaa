"""Callbacks: score, draw and export a set; record experts."""

from lightning_distill.callbacks.expert_recorder import ExpertTrajectories
from lightning_distill.callbacks.image_logger import SyntheticImages
from lightning_distill.callbacks.set_export import ExportSyntheticSet
from lightning_distill.callbacks.student_evaluation import StudentEvaluation

__all__ = ["ExpertTrajectories", "ExportSyntheticSet", "StudentEvaluation", "SyntheticImages"]
