"""Evaluation of sets: train fresh students, score them on real data."""

from lightning_distill.evaluation.baselines import coreset_sampler, full_data
from lightning_distill.evaluation.metrics.calibration import calibrated, temperature
from lightning_distill.evaluation.metrics.classification import (
    StudentMetrics,
    class_recalls,
    compute_metrics,
    undefined_classes,
    worst_class,
)
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.evaluator import StudentEvaluator, evaluate_students
from lightning_distill.evaluation.students.protocol import PROTOCOLS, Protocol, get_protocol
from lightning_distill.evaluation.students.trained import TrainedStudents
from lightning_distill.evaluation.students.trainer import Student, StudentTrainer
from lightning_distill.sets.labeled_set import LabeledSet

__all__ = [
    "PROTOCOLS",
    "LabeledSet",
    "Predictions",
    "Protocol",
    "Scores",
    "Student",
    "StudentEvaluator",
    "StudentMetrics",
    "StudentTrainer",
    "TrainedStudents",
    "calibrated",
    "class_recalls",
    "compute_metrics",
    "coreset_sampler",
    "evaluate_students",
    "full_data",
    "get_protocol",
    "temperature",
    "undefined_classes",
    "worst_class",
]
