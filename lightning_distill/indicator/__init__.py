"""What the accuracy of random subsets says of distilled sets: points, their statistics, and the study shipped here."""

from lightning_distill.indicator.correlation import CORRELATIONS, Interval, clustered_bootstrap, partial_correlation
from lightning_distill.indicator.points import Point, read_points
from lightning_distill.indicator.predictors import Cheap, knn_accuracy, look, separability
from lightning_distill.indicator.study import Line, Prediction, Study, fit_study, read_study

__all__ = [
    "CORRELATIONS",
    "Cheap",
    "Interval",
    "Line",
    "Point",
    "Prediction",
    "Study",
    "clustered_bootstrap",
    "fit_study",
    "knn_accuracy",
    "look",
    "partial_correlation",
    "read_points",
    "read_study",
    "separability",
]
