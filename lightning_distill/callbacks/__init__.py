"""Callbacks that evaluate, log and export a set, watch a generator, keep checkpoints, and record experts."""

from lightning_distill.callbacks.checkpoint import DistillCheckpoint
from lightning_distill.callbacks.expert_recorder import ExpertTrajectoryRecorder
from lightning_distill.callbacks.generator_progress import GeneratorProgress
from lightning_distill.callbacks.image_logger import SyntheticImageLogger
from lightning_distill.callbacks.set_export import SyntheticSetExport
from lightning_distill.callbacks.step_progress import StepProgress
from lightning_distill.callbacks.student_evaluation import StudentEvaluation
from lightning_distill.callbacks.validation_budget import ValidationBudget

__all__ = [
    "DistillCheckpoint",
    "ExpertTrajectoryRecorder",
    "GeneratorProgress",
    "StepProgress",
    "StudentEvaluation",
    "SyntheticImageLogger",
    "SyntheticSetExport",
    "ValidationBudget",
]
