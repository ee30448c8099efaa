"""What ``evaluate`` holds against each other: a set file, real images chosen or whole; and the images it scores on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import StudentEvaluator, coreset_sampler, full_data
from lightning_distill.evaluation.baselines import balanced_counts, class_balanced_full_data, class_weighted_full_data
from lightning_distill.evaluation.features import embed_features, embedding_epochs
from lightning_distill.evaluation.result import Candidate, EvaluationSplit
from lightning_distill.sets.adapt import adapt_set
from lightning_distill.sets.coresets import Features
from lightning_distill.sets.storage import read_set
from lightning_distill.sets.synthetic import SmallClass, limit_to_available
from lightning_distill.spec import DataSpec

Split = Literal["val", "test"]
FULL = {
    "full": "all real data",
    "full_weighted": "all real data, classes weighted",
    "full_balanced": "all real data, balanced",
}


def set_candidate(
    set: str, data: DataSpec, exam: StudentEvaluator, map_classes: dict[str, str] | None = None, resize: bool = False
) -> Candidate:
    """A set file as somebody who was sent it sees it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a set file, or not for these data.
    """
    synthetic, card = read_set(set)
    synthetic = adapt_set(synthetic, data, map_classes, resize)
    counts: list[int] = torch.bincount(synthetic.labels, minlength=len(data.balance_groups)).tolist()
    path = Path(set) / "set.safetensors" if Path(set).is_dir() else Path(set)
    return Candidate(str(card.get("method", "set")), counts, exam, lambda student: synthetic, path, distilled=True)


def baseline_candidate(
    name: str,
    data: ArrayDataModule,
    counts: list[int],
    exam: StudentEvaluator,
    on_small_class: SmallClass,
    features: Features | None = None,
) -> Candidate:
    """What a set is held against: as many real images chosen by a coreset method, or all of them.

    Args:
        name: one of `coresets.METHODS` or of `FULL`.
        data: the real images.
        counts: images of each class.
        exam: which students.
        on_small_class: where a class has fewer.
        features: ``(N, F)`` to measure distances on.

    Raises:
        ValueError: a class has too few images and the policy is ``error``.
    """
    spec, seed = data.spec, exam.seeds[0]
    real = data.all_train_arrays() if name in ("full", "full_weighted") else data.train_arrays()
    if name in FULL:
        images = sum(balanced_counts(real[1], spec)) if name == "full_balanced" else len(real[1])
        protocol = exam.protocol.for_real_data(images)
        whole = StudentEvaluator(protocol, len(exam.seeds), exam.architectures, seed, exam.compile)
        ways = {"full": full_data, "full_weighted": class_weighted_full_data}
        draw = ways[name](real, spec) if name in ways else class_balanced_full_data(real, spec, seed)
        return Candidate(FULL[name], None, whole, draw)
    there = limit_to_available(counts, np.bincount(real[1], minlength=len(spec.balance_groups)), spec, on_small_class)
    used = features if name != "random" else None
    called = name if used is None else f"{name} (embedding)"
    return Candidate(called, there, exam, coreset_sampler(name, real, there, spec, seed, used))


def embedding(data: ArrayDataModule, exam: StudentEvaluator, device: str, bf16: bool) -> Features:
    """Features of the real training images by a network trained on them, with a bar of its own."""
    real, way, network = data.train_arrays(), exam.protocol, exam.architectures[0]
    with student_bar() as bar:
        task = bar.add_task("a network to measure by", total=embedding_epochs(way, len(real[1])))
        tick = partial(bar.advance, task)
        return embed_features(real, data.spec, network, way, exam.seeds[0], device, bf16, exam.compile, tick)


def without_augmentation(subject: Candidate) -> Candidate:
    """The same, learned from as it is."""
    exam = subject.evaluator
    way = replace(exam.protocol, augmentation="none")
    return replace(
        subject, evaluator=StudentEvaluator(way, len(exam.seeds), exam.architectures, exam.seeds[0], exam.compile)
    )


def evaluation_split(data: ArrayDataModule, split: Split) -> EvaluationSplit:
    """The real images of a split; those of val are there for calibration."""
    groups = data.groups.get(split) if data.spec else None
    batches = data.val_dataloader() if split == "val" else data.test_dataloader()
    val = data.val_dataloader() if split == "test" else None
    return EvaluationSplit(split, batches, val, None if groups is None else torch.from_numpy(groups))


def student_bar() -> Progress:
    """A progress bar with what is done, how much, and the time left."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
