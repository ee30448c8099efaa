"""``IndicatorRow``: measurements and prediction for one ipc and one method, and its columns in a CSV file."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.indicator.method_fit import MethodFit
from lightning_distill.indicator.predictors import DifficultyStats
from lightning_distill.indicator.study import Study
from lightning_distill.spec import DataSpec
from lightning_distill.utils.precision import Precision


@dataclass(frozen=True)
class IndicatorRow:
    """Measurements and prediction for one ipc and one method. Accuracies are fractions.

    ``random_acc_ci95_half_width`` is the half width of the t-interval over subsets. ``low`` and ``high`` are the limits
    of the 95 % prediction interval. ``error`` is the mean error of the method's line on left-out data sets.
    """

    dataset: str
    source: str
    classes: int
    train_images: int
    smallest_class: int
    knn_acc: float
    knn_balanced_acc: float
    separability: float
    full_acc: float
    full_balanced_acc: float
    ipc: int
    images: int
    random_acc: float
    random_acc_std: float
    random_acc_ci95_half_width: float
    random_balanced_acc: float
    random_balanced_acc_std: float
    method: str
    predicted_acc: float
    low: float
    high: float
    error: float
    outside: str
    split: str
    network: str
    protocol: str
    students: int
    seeds: str
    precision: str
    study: str
    date: str
    command: str


def make_rows(
    spec: DataSpec,
    stats: DifficultyStats,
    study: Study,
    random: Mapping[int, tuple[int, Scores]],
    full: Scores | None,
    *,
    evaluator: StudentEvaluator,
    split: str,
    precision: Precision,
    command: str,
) -> list[IndicatorRow]:
    """Return one row for each ipc and each method of the study.

    Args:
        spec: Specification of the data.
        stats: Statistics of the data that need no students.
        study: Study that predicts.
        random: Number of images and scores of random subsets, by ipc.
        full: Scores of students of all real data; ``None`` if not measured.
        evaluator: Evaluator of the random subsets.
        split: Split that scored the students.
        precision: Precision of the forward pass.
        command: Command that reproduces the rows.
    """
    shared: dict[str, Any] = {
        "split": split,
        "network": evaluator.architectures[0],
        "protocol": evaluator.protocol.name,
        "students": len(evaluator.seeds),
        "seeds": f"{evaluator.seeds[0]}-{evaluator.seeds[-1]}",
        "precision": precision,
        "study": f"{study.points} points, {study.date}",
        "date": datetime.date.today().isoformat(),
        "command": command,
    }
    rows = []
    for ipc, (images, scores) in random.items():
        columns = {**shared, **measured_columns(spec, stats, full, scores), "ipc": ipc, "images": images}
        for fit in study.lines:
            predicted = predicted_columns(study, fit, stats.classes, ipc, scores.mean("acc"), evaluator)
            rows.append(IndicatorRow(**columns, **predicted))
    return rows


def measured_columns(spec: DataSpec, stats: DifficultyStats, full: Scores | None, random: Scores) -> dict[str, Any]:
    """Return the measured columns of a row, except ipc and number of images.

    Args:
        spec: Specification of the data.
        stats: Statistics of the data that need no students.
        full: Scores of students of all real data; ``None`` if not measured.
        random: Scores of students of random subsets.
    """
    numbers = {
        "knn_acc": stats.knn_acc,
        "knn_balanced_acc": stats.knn_balanced_acc,
        "separability": stats.separability,
        "full_acc": math.nan if full is None else full.mean("acc"),
        "full_balanced_acc": math.nan if full is None else full.mean("balanced_acc"),
        "random_acc": random.mean("acc"),
        "random_acc_std": random.std("acc"),
        "random_acc_ci95_half_width": random.half_interval("acc"),
        "random_balanced_acc": random.mean("balanced_acc"),
        "random_balanced_acc_std": random.std("balanced_acc"),
    }
    return {
        "dataset": spec.name,
        "source": spec.source,
        "classes": stats.classes,
        "train_images": stats.images,
        "smallest_class": stats.smallest_class,
        **{name: round(number, 5) for name, number in numbers.items()},
    }


def predicted_columns(
    study: Study, fit: MethodFit, classes: int, ipc: int, random_acc: float, evaluator: StudentEvaluator
) -> dict[str, Any]:
    """Return the predicted columns of a row.

    Args:
        study: Study with the fit.
        fit: Fit of the method.
        classes: Number of classes of the data.
        ipc: Images per class.
        random_acc: Accuracy of random subsets, a fraction.
        evaluator: Evaluator of the random subsets.
    """
    prediction = fit.predict(random_acc)
    numbers = {"predicted_acc": prediction.acc, "low": prediction.low, "high": prediction.high, "error": fit.error}
    outside = study.out_of_range(fit, classes, ipc, random_acc, evaluator.architectures[0], evaluator.protocol.name)
    return {
        "method": fit.method,
        "outside": "; ".join(outside),
        **{name: round(number, 5) for name, number in numbers.items()},
    }
