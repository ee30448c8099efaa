"""Measure random subsets and statistics of a data set, and predict the accuracy of distilled sets from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lightning_distill.evaluation.candidates import Split, baseline_candidate
from lightning_distill.evaluation.labels import LABELS
from lightning_distill.evaluation.students.evaluator import StudentEvaluator, evaluate_students
from lightning_distill.functional.compile import CompileMode
from lightning_distill.indicator.predictors import DifficultyStats, measure_predictors
from lightning_distill.indicator.rows import IndicatorRow, make_rows
from lightning_distill.indicator.study import Study, read_study
from lightning_distill.sets.synthetic import SmallClass, images_per_class
from lightning_distill.utils.command_line import command_line
from lightning_distill.utils.hardware import Accelerator, resolve_device
from lightning_distill.utils.precision import Precision
from lightning_distill.utils.progress import ProgressCounter, ProgressReport

if TYPE_CHECKING:
    from lightning_distill.data import ArrayDataModule


@dataclass(frozen=True)
class IndicatorResult:
    """Predictions for a data set and all that they were computed from.

    Args:
        rows: One row for each ipc and each method of the study.
        stats: Statistics of the data that need no students.
        study: Study that predicts.
    """

    rows: list[IndicatorRow]
    stats: DifficultyStats
    study: Study


def predict_accuracies(
    data: ArrayDataModule,
    ipc: int | list[int] = 10,
    *,
    students: int = 5,
    protocol: str = "reference",
    network: str = "convnet",
    full: bool = False,
    split: Split = "val",
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
    on_small_class: SmallClass = "error",
    study: str | os.PathLike[str] | None = None,
    on_progress: ProgressReport | None = None,
) -> IndicatorResult:
    """Predict the accuracy of distilled sets from random subsets and statistics of the data.

    Nothing is distilled. Each student is trained on its own random subset. The mean accuracy enters the linear fit of
    the study. The function prints nothing and writes no file; the command ``lightning-distill indicator`` does both.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        ipc: Images per class, one number or several: ``--ipc 1 10 50``.
        students: Number of students for each ipc, at least 2. Each has its own random subset.
        protocol: Training protocol of the students: ``reference``, ``quick`` or ``tiny`` (for tests).
        network: Name of the students' network, of this package or of timm.
        full: Also train students on all real data.
        split: Real images that score the students: ``val`` or ``test``.
        seed: Seed of the first student; the others count up from it.
        precision: Precision of the forward pass: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.
        on_small_class: Policy where a class has fewer images than ipc: ``error``, ``fewer`` or ``repeat``.
        study: JSON file of a study. Default: the study shipped with the package.
        on_progress: Function called with a description, the finished work and all work, in images times epochs, so
            that the time left is right for small and for large subsets.

    Returns:
        Rows, statistics and study.

    Raises:
        FileNotFoundError: The study does not exist.
        ValueError: A class has fewer images than ``ipc``, the data are multi-label, there are fewer than two students,
            or a name is unknown.

    Example:
        >>> from lightning_distill import DigitsDataModule
        >>> result = predict_accuracies(DigitsDataModule(), ipc=[1, 10])  # doctest: +SKIP
        >>> result.rows[0].predicted_acc  # doctest: +SKIP
    """
    command = command_line(predict_accuracies, locals(), name="indicator")
    if students < 2:
        raise ValueError(f"students={students}; an interval needs at least 2, and the study has 3 to 5")
    if not (sizes := list(dict.fromkeys([ipc] if isinstance(ipc, int) else ipc))):
        raise ValueError("ipc=[]; give at least one number of images per class")
    known, spec = read_study(study), data.spec
    if spec.multi_label:
        raise ValueError(f"{spec.name} is multi-label; the study has single-label data only")
    evaluator = StudentEvaluator(protocol, students=students, architectures=[network], seed=seed, compile=compile)
    subsets = {
        n: baseline_candidate("random", data, images_per_class(n, spec), evaluator, on_small_class) for n in sizes
    }
    trainings = [(f"random subsets, ipc {n}", sum(subset.counts or ()), subset) for n, subset in subsets.items()]
    if full:
        everything = baseline_candidate("full", data, [], evaluator, on_small_class)
        trainings.append((LABELS["full"], len(data.train_arrays()[1]), everything))
    batches = data.val_dataloader() if split == "val" else data.test_dataloader()
    device, bf16 = resolve_device(accelerator), precision == "bf16-mixed"
    work = sum(images * candidate.evaluator.epochs for _, images, candidate in trainings)
    progress = ProgressCounter(on_progress, work)
    progress.start("nearest neighbours")
    stats = measure_predictors(data.train_arrays(), (batches.images, batches.labels), spec, seed)
    scores = []
    for description, images, candidate in trainings:
        progress.start(f"{description}, {students} students")
        on_epoch = partial(progress.advance, images)
        sampler = candidate.make_training_set
        scores.append(
            evaluate_students(candidate.evaluator, sampler, batches, device=device, bf16=bf16, on_epoch=on_epoch)
        )
    full_scores = scores.pop() if full else None
    random = {n: (images, own) for n, (_, images, _), own in zip(sizes, trainings, scores, strict=False)}
    rows = make_rows(
        spec,
        stats,
        known,
        random,
        full_scores,
        evaluator=evaluator,
        split=split,
        precision=precision,
        command=command,
    )
    return IndicatorResult(rows, stats, known)
