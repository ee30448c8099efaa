"""Candidates with soft labels beside those with hard labels: set files, and coresets labelled by teachers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from lightning_distill.evaluation.candidates import EvaluationData, set_candidate
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.relabel import get_teachers, soft_sampler
from lightning_distill.evaluation.result import Candidate
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.sets.storage import Card
from lightning_distill.spec import DataSpec

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lightning_distill.evaluation.candidate_runner import StartCallback
    from lightning_distill.evaluation.teachers import TeacherOptions

#: Labels of an evaluation; ``None`` takes soft labels where a set file has them, and hard labels for baselines.
EvaluationLabels = Literal["hard", "soft", "both"]


def set_candidates(
    synthetic_set: str | os.PathLike[str],
    data: DataSpec,
    evaluator: StudentEvaluator,
    labels: EvaluationLabels | None,
    map_classes: dict[str, str] | None = None,
    resize: bool = False,
) -> list[Candidate]:
    """Read a set file as candidates with the requested labels, hard labels first.

    Args:
        synthetic_set: Path of ``set.safetensors`` or of its folder.
        data: Specification of the data that score the students.
        evaluator: Evaluator that trains the students.
        labels: ``hard``, ``soft``, ``both``, or ``None`` for soft labels if the file has them.
        map_classes: Class of the data for each class of the set.
        resize: Resize the set's images to the shape of the data.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The set does not fit the data, or has no soft labels where they are requested.
    """
    candidate = set_candidate(synthetic_set, data, evaluator, map_classes=map_classes, resize=resize)
    if labels in ("soft", "both") and candidate.labels != "soft":
        raise ValueError(
            f"labels={labels!r}, but the set has hard labels only; add soft ones with lightning-distill relabel"
        )
    if labels in (None, "soft"):
        return [candidate]
    hard = set_candidate(synthetic_set, data, evaluator, map_classes=map_classes, resize=resize, labels="hard")
    return [hard] if labels == "hard" else [hard, candidate]


def label_coresets(
    candidates: Sequence[Candidate],
    data: EvaluationData,
    labels: EvaluationLabels | None,
    teachers: int | str,
    prior: Prior,
    *,
    on_start: StartCallback,
    **options: Unpack[TeacherOptions],
) -> list[Candidate]:
    """Give coresets soft labels where they are requested; baselines of all real data keep hard labels.

    Args:
        candidates: Baselines.
        data: Data module with the real images.
        labels: ``soft``, or ``both`` to keep each coreset with hard labels before its soft version.
        teachers: Number of teachers to train, or a file of teachers.
        prior: Prior of the labels.
        on_start: Function called before the training of the teachers.
        **options: Options of `train_teachers`.
    """
    if labels not in ("soft", "both") or not any(candidate.counts for candidate in candidates):
        return list(candidates)
    ensemble = get_teachers(teachers, data, prior=prior, on_start=on_start, **options)
    seed, device = options.get("seed", 0), options.get("device", "cpu")
    result = []
    for candidate in candidates:
        if candidate.counts is None or labels == "both":
            result.append(candidate)
        if candidate.counts is not None:
            sampler = soft_sampler(candidate.make_training_set, ensemble, prior=prior, seed=seed, device=device)
            result.append(replace(candidate, make_training_set=sampler, labels="soft"))
    return result


def prior_of_card(card: Card) -> Prior | None:
    """Return the prior of the soft labels of a set, ``None`` if its card does not record one."""
    record = card.get("soft_labels")
    prior = record.get("prior") if isinstance(record, dict) else None
    return prior if prior in ("natural", "balanced") else None
