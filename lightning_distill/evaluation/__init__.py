"""Scoring a set: fresh students, real data."""

from lightning_distill.evaluation.baselines import chosen, everything
from lightning_distill.evaluation.exam import Exam, Sitting, examine
from lightning_distill.evaluation.metrics import StudentMetrics
from lightning_distill.evaluation.protocol import PROTOCOLS, Protocol, get_protocol
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.student import School, Student, TrainingSet

__all__ = [
    "PROTOCOLS",
    "Exam",
    "Protocol",
    "School",
    "Scores",
    "Sitting",
    "Student",
    "StudentMetrics",
    "TrainingSet",
    "chosen",
    "everything",
    "examine",
    "get_protocol",
]
