"""Scoring a set: fresh students, real data."""

from lightning_distill.evaluation.baselines import chosen, everything
from lightning_distill.evaluation.calibration import calibrated, temperature
from lightning_distill.evaluation.exam import Exam, Sitting, examine
from lightning_distill.evaluation.metrics import StudentMetrics, absent, measure, recalls, worst_class
from lightning_distill.evaluation.predictions import Predictions
from lightning_distill.evaluation.protocol import PROTOCOLS, Protocol, get_protocol
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.student import School, Student
from lightning_distill.training_set import TrainingSet

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
