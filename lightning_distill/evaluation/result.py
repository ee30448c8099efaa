"""Evaluation of one candidate: train students, score them on real images, compare with baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_distill.evaluation.labels import BaselineName
from lightning_distill.evaluation.metrics.calibration import calibrated
from lightning_distill.evaluation.metrics.intervals import Estimate, bootstrap_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.prior_correction import class_priors, prior_offset
from lightning_distill.evaluation.metrics.registry import METRICS, metrics_for
from lightning_distill.evaluation.metrics.relative import RelativeScores, chance, relative_scores
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.evaluation.students.trained import TrainedStudents
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.utils.progress import ProgressCallback

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Candidate:
    """Training data under evaluation: a distilled set or a baseline.

    Args:
        name: Key of a baseline (`labels.BaselineName`), or name of the method that made the set.
        counts: Images per class; ``None`` for the full training set.
        evaluator: Architecture, number and protocol of the students.
        make_training_set: Function from the student number to its training set.
        path: Path of the set file, if there is one.
        distilled: Whether the candidate is the evaluated set and not a baseline.
        target_priors: Class frequencies ``(K,)`` for prior correction; ``None`` applies none.
    """

    name: str
    counts: list[int] | None
    evaluator: StudentEvaluator
    make_training_set: Callable[[int], LabeledSet]
    path: Path | None = None
    distilled: bool = False
    target_priors: Tensor | None = None


@dataclass(frozen=True)
class EvaluationSplit:
    """Real images to score on.

    Args:
        split: Name of the split, ``val`` or ``test``.
        batches: Batches of images in pixel units with labels, iterated once per candidate.
        val: Batches for temperature scaling, if ``batches`` is another split.
        groups: Group numbers ``(N,)``, equal for images of one patient or lesion.
    """

    split: str
    batches: Batches
    val: Batches | None = None
    groups: Tensor | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """Scores, predictions and intervals of a candidate.

    Args:
        candidate: Evaluated training data.
        images: Number of training images.
        scores: Scores of the students on the split; with a val split also ``temperature`` and the scaled metrics.
        predictions: Predictions of the students on the split.
        intervals: Bootstrap intervals over images or groups, by metric.
        seconds: Training time per student.
    """

    candidate: Candidate
    images: int
    scores: Scores
    predictions: Predictions
    intervals: dict[str, Estimate]
    seconds: float

    def for_architecture(self, architecture: str) -> EvaluationResult:
        """Restrict the result to the students of one architecture."""
        rows = [i for i, name in enumerate(self.predictions.architectures) if name == architecture]
        predictions = self.predictions
        names, seeds = [architecture] * len(rows), [predictions.seeds[i] for i in rows]
        selected = replace(predictions, logits=predictions.logits[rows], seeds=seeds, architectures=names)
        scores = replace(
            self.scores,
            students=[self.scores.students[i] for i in rows],
            seeds=seeds,
            architectures=names,
            recalls=[self.scores.recalls[i] for i in rows],
            diverged=[seed for seed in seeds if seed in self.scores.diverged],
        )
        return replace(self, scores=scores, predictions=selected, intervals=bootstrap_all(selected))


def evaluate_candidate(
    candidate: Candidate,
    evaluation_split: EvaluationSplit,
    *,
    device: torch.device | str,
    bf16: bool = False,
    on_epoch: ProgressCallback = lambda: None,
) -> EvaluationResult:
    """Train the students of a candidate and score them. Nothing is selected on the scored split.

    Args:
        candidate: Training data of the students.
        evaluation_split: Real images to score on.
        device: Device of training and scoring.
        bf16: Whether the forward pass runs in bfloat16.
        on_epoch: Function called after every epoch of every student.
    """
    first = candidate.make_training_set(0)
    trained = candidate.evaluator.train(candidate.make_training_set, device=device, bf16=bf16, on_epoch=on_epoch)
    if candidate.target_priors is not None:
        offset = prior_offset(class_priors(first), candidate.target_priors)
        trained.students = [replace(student, logit_offset=offset) for student in trained.students]
    scores = trained.update_all(evaluation_split.batches).scores()
    predictions = trained.predictions(evaluation_split.split, evaluation_split.groups)
    if evaluation_split.val is not None:
        on_val = (
            TrainedStudents(trained.students, first.spec, device=device, started_at=trained.started_at)
            .update_all(evaluation_split.val)
            .predictions("val")
        )
        for student, scaled in zip(scores.students, calibrated(predictions, on_val), strict=True):
            student.update(scaled)
    seconds = trained.training_seconds / len(trained.students)
    return EvaluationResult(candidate, len(first.labels), scores, predictions, bootstrap_all(predictions), seconds)


def bootstrap_all(predictions: Predictions) -> dict[str, Estimate]:
    """Bootstrap the metrics that result rows hold an interval of."""
    names = [name for name, metric in metrics_for(predictions.spec).items() if metric.interval and name in METRICS]
    return {name: bootstrap_interval(predictions, name) for name in names}


def compare_to_baselines(
    result: EvaluationResult,
    baselines: Sequence[EvaluationResult],
    real_bytes: float,
    distillation_seconds: float = float("nan"),
    plain: dict[str, float] | None = None,
) -> RelativeScores:
    """Relate the accuracy of a candidate to random images and to all real images.

    Args:
        result: Result of the candidate.
        baselines: Results of the baselines; ``random`` and ``full`` are used, distilled candidates are ignored.
        real_bytes: Size of the training data in bytes.
        distillation_seconds: Seconds of the distillation, NaN if unknown.
        plain: Accuracy of students without augmentation by candidate name, if measured.
    """
    random, full = _baseline(baselines, "random"), _baseline(baselines, "full")
    nan, plain = float("nan"), plain or {}
    path = result.candidate.path
    return relative_scores(
        result.scores.mean("acc"),
        full.scores.mean("acc") if full else nan,
        random.scores.mean("acc") if random else nan,
        chance("acc", result.predictions.targets, result.predictions.spec),
        syn_plain=plain.get(result.candidate.name, nan),
        random_plain=plain.get("random", nan),
        shipped_bytes=path.stat().st_size if path else nan,
        real_bytes=real_bytes,
        full_seconds=full.seconds if full else nan,
        syn_seconds=result.seconds,
        distillation_seconds=distillation_seconds,
    )


def _baseline(results: Sequence[EvaluationResult], name: BaselineName) -> EvaluationResult | None:
    matching = (other for other in results if other.candidate.name == name and not other.candidate.distilled)
    return next(matching, None)
