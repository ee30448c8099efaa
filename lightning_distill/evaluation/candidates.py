"""Candidates of an evaluation: a set file, coresets and the whole training set; and the split that scores them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.evaluation.baselines import (
    Arrays,
    balanced_counts,
    class_balanced_full_data,
    class_weighted_full_data,
    coreset_sampler,
    full_data,
)
from lightning_distill.evaluation.labels import FULL_BASELINES, coreset_baseline
from lightning_distill.evaluation.metrics.prior_correction import class_priors
from lightning_distill.evaluation.result import Batches, Candidate, EvaluationSplit
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.evaluation.students.protocol import Protocol as TrainingProtocol
from lightning_distill.sets.adapt import adapt_set, adapted_sampler
from lightning_distill.sets.coresets import Features
from lightning_distill.sets.storage import read_set, set_file
from lightning_distill.sets.synthetic import SmallClass, limit_to_available
from lightning_distill.spec import DataSpec

Split = Literal["val", "test"]


class EvaluationData(Protocol):
    """The part of a data module that an evaluation uses; every `ArrayDataModule` has it."""

    @property
    def spec(self) -> DataSpec:
        """Shape, classes and statistics."""

    @property
    def groups(self) -> Mapping[str, NDArray[np.int64]]:
        """Group number of each image by split, where groups are known."""

    @property
    def reproducible_args(self) -> Mapping[str, object]:
        """Constructor arguments for the recorded command."""

    def train_arrays(self) -> Arrays:
        """Return training images and the numbers of their balance groups."""

    def all_train_arrays(self) -> Arrays:
        """Return all training images and labels or targets."""

    def val_dataloader(self) -> Batches:
        """Return validation batches in pixel units; an empty list where there are none."""

    def test_images(self) -> EvaluationData:
        """Return the test images alone, where no training data are used."""

    def test_dataloader(self) -> Batches:
        """Return test batches in pixel units."""


def set_candidate(
    synthetic_set: str | os.PathLike[str],
    data: DataSpec,
    evaluator: StudentEvaluator,
    *,
    map_classes: dict[str, str] | None = None,
    resize: bool = False,
    labels: Literal["hard"] | None = None,
) -> Candidate:
    """Read a set file as a candidate, adapted to the data that score it.

    Args:
        synthetic_set: Path of ``set.safetensors`` or of its folder.
        data: Specification of the data that score the students.
        evaluator: Evaluator that trains the students.
        map_classes: Class of the data for each class of the set.
        resize: Resize the set's images to the shape of the data.
        labels: ``hard`` ignores soft labels of the file; default: soft labels if the file has them.

    Returns:
        Candidate with ``distilled=True``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a set file, or the set does not fit the data.
    """
    synthetic, card = read_set(synthetic_set)
    synthetic = adapt_set(synthetic, data, map_classes, resize)
    if labels == "hard":
        synthetic = replace(synthetic, soft_labels=None)
    counts: list[int] = torch.bincount(synthetic.labels, minlength=len(data.balance_groups)).tolist()
    kind = "hard" if synthetic.soft_labels is None else "soft"
    name = str(card.get("method", "set"))
    return Candidate(
        name, counts, evaluator, lambda student: synthetic, set_file(synthetic_set), distilled=True, labels=kind
    )


def baseline_candidate(
    name: str,
    data: EvaluationData,
    counts: list[int],
    evaluator: StudentEvaluator,
    on_small_class: SmallClass,
    features: Features | None = None,
) -> Candidate:
    """Build a baseline: a coreset with given class counts, or the whole training split.

    Args:
        name: Name of a coreset method (`coresets.METHODS`) or of a full-data baseline (`FULL_BASELINES`).
        data: Data module with the real images.
        counts: Number of images of each class.
        evaluator: Evaluator that trains the students.
        on_small_class: Policy where a class has fewer images than its count: ``error``, ``fewer`` or ``repeat``.
        features: Features ``(N, F)`` for distances between images; ``None`` uses pixels.

    Returns:
        Candidate with ``distilled=False``.

    Raises:
        ValueError: A class has too few images and the policy is ``error``.
    """
    spec, seed = data.spec, evaluator.seeds[0]
    real = data.all_train_arrays() if name in ("full", "full_weighted") else data.train_arrays()
    if name in FULL_BASELINES:
        images = sum(balanced_counts(real[1], spec)) if name == "full_balanced" else len(real[1])
        protocol = evaluator.protocol.for_real_data(images)
        samplers = {"full": full_data, "full_weighted": class_weighted_full_data}
        sampler = samplers[name](real, spec) if name in samplers else class_balanced_full_data(real, spec, seed)
        return Candidate(name, None, with_protocol(evaluator, protocol), sampler)
    available = np.bincount(real[1], minlength=len(spec.balance_groups))
    counts = limit_to_available(counts, available, spec, on_small_class)
    used = features if name != "random" else None
    key = coreset_baseline(name, "pixels" if used is None else "embedding")
    return Candidate(key, counts, evaluator, coreset_sampler(name, real, counts, spec, seed, used))


def adapt_candidate(
    candidate: Candidate, data: DataSpec, map_classes: Mapping[str, str] | None = None, resize: bool = False
) -> Candidate:
    """Adapt the training sets of a candidate to data of another site that score the students.

    Args:
        candidate: Baseline of other data than those that score the students.
        data: Specification of the data that score the students.
        map_classes: Class of the scored data for each class of the candidate.
        resize: Resize the candidate's images to the shape of the scored data.
    """
    sampler = adapted_sampler(candidate.make_training_set, data, map_classes, resize)
    return replace(candidate, make_training_set=sampler)


def with_target_priors(candidates: Sequence[Candidate], data: EvaluationData) -> list[Candidate]:
    """Return candidates with logits that are shifted to the class frequencies of the real training data.

    Args:
        candidates: Candidates of an evaluation.
        data: Data module with the real training images.
    """
    priors = class_priors(full_data(data.all_train_arrays(), data.spec)(0))
    return [replace(candidate, target_priors=priors) for candidate in candidates]


def with_protocol(evaluator: StudentEvaluator, protocol: TrainingProtocol) -> StudentEvaluator:
    """Return an evaluator of the same students under another training protocol."""
    return StudentEvaluator(
        protocol,
        students=len(evaluator.seeds),
        architectures=evaluator.architectures,
        seed=evaluator.seeds[0],
        compile=evaluator.compile,
    )


def without_augmentation(candidate: Candidate) -> Candidate:
    """Return the candidate with students that are trained without augmentation."""
    protocol = replace(candidate.evaluator.protocol, augmentation="none")
    return replace(candidate, evaluator=with_protocol(candidate.evaluator, protocol))


def evaluation_split(data: EvaluationData, split: Split) -> EvaluationSplit:
    """Return the batches of a split, with validation batches for calibration where the split is ``test``."""
    groups = data.groups.get(split) if data.spec else None
    batches = data.val_dataloader() if split == "val" else data.test_dataloader()
    val = (data.val_dataloader() or None) if split == "test" else None
    return EvaluationSplit(split, batches, val, None if groups is None else torch.from_numpy(groups))
