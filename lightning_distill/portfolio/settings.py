"""Settings of a portfolio run that are compared when it goes on, and checked before it begins."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import torch

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.content import content_digest
from lightning_distill.evaluation.metrics.metric import StudentOutputs
from lightning_distill.evaluation.metrics.registry import get_metric


def describe_images(data: ArrayDataModule) -> str:
    """Return numbers and hash of the images of a data module, and how its batches are drawn, without any path.

    Args:
        data: Data module after `setup`.
    """
    splits = {name: data.splits[name] for name in ("train", "val") if name in data.splits}
    counts = ", ".join(f"{len(labels):,} {name}" for name, (_, labels) in splits.items())
    digest = content_digest(splits.values())[:12]
    return f"{counts}, sha256 {digest}, {data.real_per_class} real ones a class in a step, data seed {data.seed}"


def describe_teachers(teachers: int | str) -> int | str:
    """Return the number of teachers to train, or the hash of a file of teachers.

    Args:
        teachers: Number of teachers, also as text, or path of a file.
    """
    if isinstance(teachers, int) or teachers.isdecimal():
        return int(teachers)
    path = Path(teachers)
    return f"file of sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}" if path.is_file() else "no file"


def check_defined(metric: str, data: ArrayDataModule) -> None:
    """Raise ValueError for a metric that has no value on the validation labels, such as AUROC of one class.

    Args:
        metric: Name of the metric.
        data: Data module after `setup`.
    """
    spec, targets = data.spec, torch.from_numpy(np.asarray(data.splits["val"][1], np.int64))
    logits = torch.randn((1, len(targets), spec.num_classes), generator=torch.Generator().manual_seed(0))
    if not len(targets) or math.isnan(get_metric(metric, spec).score(StudentOutputs(logits, targets, spec))):
        raise ValueError(
            f"metric={metric} has no value on the {len(targets)} validation images of {spec.name}, which lack "
            "classes; choose another metric, or more validation images (--data.val_fraction)"
        )
