"""Comparison of an exported set with its start and with selected real images, at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import numpy as np
import torch
from lightning import LightningModule, Trainer

from lightning_distill.callbacks.progress import student_progress
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.loaders import SequentialLoader
from lightning_distill.evaluation.baselines import coreset_sampler
from lightning_distill.evaluation.guard import START, Batches, GainCheck, check_gain
from lightning_distill.evaluation.metrics.registry import metrics_for
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.sets.coresets import METHODS
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.synthetic import limit_to_available
from lightning_distill.spec import DataSpec


def validate_yardsticks(yardsticks: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the yardsticks.

    Raises:
        ValueError: A name is unknown, or there are coresets without the start.
    """
    names = tuple(dict.fromkeys(yardsticks))
    known = (START, *METHODS)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"unknown yardstick {unknown[0]!r}; use any of {', '.join(known)}, or () to compare nothing")
    if names and START not in names:
        raise ValueError(f"yardsticks={list(names)} lacks 'start', which decides on the mark; add it, or use ()")
    return names


def guard_metric(monitor: str, spec: DataSpec) -> str:
    """Return the metric that the guard compares: that of the monitored log key, or accuracy for any other key."""
    name = monitor.removeprefix("val/")
    return name if name in metrics_for(spec) else "acc"


def validation_batches(trainer: Trainer, datamodule: ArrayDataModule) -> tuple[Batches, torch.Tensor | None]:
    """Return the validation batches of a run and the group of each image, respecting ``limit_val_batches``."""
    loader = datamodule.val_dataloader()
    limit, groups = trainer.limit_val_batches, datamodule.groups.get("val")
    count = limit if isinstance(limit, int) else int(len(loader) * limit)
    known = None if groups is None else torch.from_numpy(groups)
    if count >= len(loader):
        return loader, known
    images = count * loader.batch_size
    return list(islice(loader, count)), None if known is None else known[:images]


def reason_not_to_measure(
    trainer: Trainer, datamodule: ArrayDataModule, yardsticks: Sequence[str], evaluator: StudentEvaluator | None
) -> str | None:
    """Return the reason why the gain cannot be measured, or ``None``."""
    if not yardsticks:
        return "turned off by yardsticks=()"
    if not datamodule.has_images:
        return "signal banks hold no real images to compare with"
    if evaluator is None:
        return "the run has no StudentEvaluation, which gives protocol and students"
    batches, groups = validation_batches(trainer, datamodule)
    if not isinstance(batches, SequentialLoader) and not batches:
        return f"validation is off, limit_val_batches={trainer.limit_val_batches}"
    units = sum(len(y) for _, y in batches) if groups is None else len(groups.unique())
    return f"the validation split has {units} images or patients; an error needs 2" if units < 2 else None


def measure_gain(
    trainer: Trainer,
    pl_module: LightningModule,
    datamodule: ArrayDataModule,
    exported: LabeledSet,
    start: LabeledSet,
    evaluator: StudentEvaluator,
    *,
    yardsticks: Sequence[str],
    metric: str,
    init: str,
    label: Callable[[LabeledSet], LabeledSet] = lambda pick: pick,
) -> GainCheck:
    """Compare the exported set with its start and with coresets of its size on the validation split.

    Every rank must call it. No random stream of the run is advanced.

    Args:
        trainer: Trainer of the run.
        pl_module: Distiller of the run, for its device.
        datamodule: Data of the run.
        exported: Set as it was written.
        start: Initial set, as it would have been written.
        evaluator: Students of the run's validations.
        yardsticks: ``start`` and names of coresets.
        metric: Name of a metric.
        init: Initialisation of the images.
        label: Function that gives a coreset labels of the same kind as those of the exported set.
    """
    spec, real = datamodule.spec, datamodule.train_arrays()
    groups = len(spec.balance_groups)
    stored = torch.bincount(exported.labels, minlength=groups).tolist()
    counts = limit_to_available(stored, np.bincount(real[1], minlength=groups), spec, "fewer")
    samplers = {
        name: coreset_sampler(name, real, counts, spec, evaluator.seeds[0]) for name in yardsticks if name != START
    }
    picks = {name: partial(_labelled, sample, label) for name, sample in samplers.items()}
    batches, patients = validation_batches(trainer, datamodule)
    total = (2 + len(picks)) * evaluator.epochs_on_this_rank(sharded=True)
    with student_progress(trainer, total, "students of the set and its yardsticks") as on_epoch:
        return check_gain(
            exported,
            start,
            picks,
            evaluator,
            batches,
            pl_module.device,
            bf16="bf16" in str(trainer.precision),
            metric=metric,
            init=init,
            groups=patients,
            sharded=True,
            on_epoch=on_epoch,
        )


def _labelled(
    sample: Callable[[int], LabeledSet], label: Callable[[LabeledSet], LabeledSet], student: int
) -> LabeledSet:
    return label(sample(student))
