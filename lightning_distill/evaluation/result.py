"""One thing under test, assessed: students trained on it, shown the real images, and what may be said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_distill.evaluation.metrics.calibration import calibrated
from lightning_distill.evaluation.metrics.intervals import Estimate, bootstrap_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.prior_correction import class_priors, prior_offset
from lightning_distill.evaluation.metrics.registry import METRICS, metrics_for
from lightning_distill.evaluation.metrics.relative import RelativeScores, chance, relative_scores
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.evaluator import StudentEvaluator, TrainedStudents
from lightning_distill.evaluation.students.protocol import ProgressCallback
from lightning_distill.sets.labeled_set import LabeledSet

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Candidate:
    """What students learn from.

    Args:
        name: in tables.
        counts: images of each class; ``None`` for a whole training set.
        exam: which students.
        draw: ``draw(i)`` is what student i learns from.
        path: of the file, where it is one.
        own: whether it is what is being judged, not a baseline.
        prior: ``(K,)``, the class shares that its students' probabilities are corrected to; ``None`` corrects nothing.
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
        split: their name, ``val`` or ``test``.
        batches: in pixel units, with labels; gone through once for each subject.
        val: images to find temperatures on, where ``batches`` are not these.
        groups: ``(N,)``, one number for images of one patient or lesion.
    """

    split: str
    batches: Batches
    val: Batches | None = None
    groups: Tensor | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """What came out.

    Args:
        subject: what was learned from.
        images: how many of them.
        scores: of the students on the split; with a val split also ``temperature`` and what it makes of ``ece``,
            ``brier`` and ``nll``.
        predictions: of the students on the split.
        over_images: bootstrapped over images (or their groups), by metric: ``acc``, ``balanced_acc``, ``auroc``.
        seconds: to train one student.
    """

    candidate: Candidate
    images: int
    scores: Scores
    predictions: Predictions
    intervals: dict[str, Estimate]
    seconds: float

    def for_architecture(self, architecture: str) -> EvaluationResult:
        """The same of the students of one architecture alone."""
        rows = [i for i, name in enumerate(self.predictions.architectures) if name == architecture]
        said = self.predictions
        names, seeds = [architecture] * len(rows), [said.seeds[i] for i in rows]
        some = replace(said, logits=said.logits[rows], seeds=seeds, architectures=names)
        scores = replace(
            self.scores,
            students=[self.scores.students[i] for i in rows],
            seeds=seeds,
            architectures=names,
            recalls=[self.scores.recalls[i] for i in rows],
            diverged=[seed for seed in seeds if seed in self.scores.diverged],
        )
        return replace(self, scores=scores, predictions=some, intervals=bootstrap_all(some))


def evaluate_candidate(
    candidate: Candidate,
    evaluation_split: EvaluationSplit,
    device: torch.device | str,
    bf16: bool = False,
    on_epoch: ProgressCallback = lambda: None,
) -> EvaluationResult:
    """Train the students of a subject, show them val and the split, and score them. Nothing is chosen on the split.

    Args:
        subject: what they learn from.
        view: what they are shown.
        device: where to compute.
        bf16: forward in bfloat16.
        tick: called after every epoch of every student.
    """
    first = candidate.make_training_set(0)
    sitting = candidate.evaluator.train(candidate.make_training_set, device, bf16, on_epoch)
    if candidate.target_priors is not None:
        offset = prior_offset(class_priors(first), candidate.target_priors)
        sitting.students = [replace(student, logit_offset=offset) for student in sitting.students]
    scores = sitting.update_all(evaluation_split.batches).scores()
    said = sitting.predictions(evaluation_split.split, evaluation_split.groups)
    if evaluation_split.val is not None:
        on_val = (
            TrainedStudents(sitting.students, first.spec, device, sitting.began)
            .update_all(evaluation_split.val)
            .predictions("val")
        )
        for student, scaled in zip(scores.students, calibrated(said, on_val), strict=True):
            student.update(scaled)
    seconds = sitting.trained / len(sitting.students)
    return EvaluationResult(candidate, len(first.labels), scores, said, bootstrap_all(said), seconds)


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
    """What the accuracy of one subject means beside that of random images and of all real images.

    Args:
        mine: the subject.
        others: what was assessed by the same students; ``random`` and ``all real data`` are looked for.
        real_bytes: of the training data.
        distillation_seconds: to make the set, where known.
        plain: accuracy of students without augmentation, by subject, where measured.
    """
    by_name = {other.candidate.name: other for other in baselines}
    random, full = by_name.get("random"), by_name.get("all real data")
    nothing, plain = float("nan"), plain or {}
    path = result.candidate.path
    return relative_scores(
        result.scores.mean("acc"),
        full.scores.mean("acc") if full else nothing,
        random.scores.mean("acc") if random else nothing,
        chance("acc", result.predictions.targets, result.predictions.spec),
        syn_plain=plain.get(result.candidate.name, nothing),
        random_plain=plain.get("random", nothing),
        shipped_bytes=path.stat().st_size if path else nothing,
        real_bytes=real_bytes,
        full_seconds=full.seconds if full else nothing,
        syn_seconds=result.seconds,
        distillation_seconds=distillation_seconds,
    )
