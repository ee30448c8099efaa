"""Scoring a set: fresh students, real data."""

from lightning_distill.evaluation.baselines import chosen, everything
from lightning_distill.evaluation.metrics.calibration import calibrated, temperature
from lightning_distill.evaluation.metrics.classification import StudentMetrics, absent, measure, recalls, worst_class
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.evaluator import Exam, Sitting, examine
from lightning_distill.evaluation.students.protocol import PROTOCOLS, Protocol, get_protocol
from lightning_distill.evaluation.students.trainer import School, Student
from lightning_distill.sets.labeled_set import TrainingSet

__all__ = [
    "PROTOCOLS",
    "Exam",
    "Predictions",
    "Protocol",
    "School",
    "Scores",
    "Sitting",
    "Student",
    "StudentMetrics",
    "TrainingSet",
    "absent",
    "calibrated",
    "chosen",
    "everything",
    "examine",
    "get_protocol",
    "measure",
    "recalls",
    "temperature",
    "worst_class",
]
