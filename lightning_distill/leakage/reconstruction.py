"""Reconstruction: how well the start of a set can be recovered from the shipped images as steps grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray

from lightning_distill.audit.resemblance import structural_similarity
from lightning_distill.audit.similarity import flat_unit_vectors, nearest
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.quiet import quiet, quiet_trainer
from lightning_distill.leakage.measure import CHUNK
from lightning_distill.leakage.recipes import DistillRecipe, start_rows
from lightning_distill.sets.formation import reduced
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.utils.statistics import clopper_pearson


@dataclass(frozen=True)
class Recovery:
    """Recovery of the starts of a set after some steps.

    Args:
        steps: Number of steps.
        ssim: Median structural similarity of an image to its start.
        correlation: Median correlation of an image with its start.
        top1: Share of images whose most correlated training image is their start.
        low: Lower bound of its 95 % interval.
        high: Upper bound of its 95 % interval.
        chance: The share that guessing would reach.
        images: Number of images.
    """

    steps: int
    ssim: float
    correlation: float
    top1: float
    low: float
    high: float
    chance: float
    images: int

    @property
    def recognisable(self) -> bool:
        """Whether more starts are found than by guessing."""
        return self.low > self.chance

    def to_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        values = {key: None if value != value else value for key, value in asdict(self).items()}
        return {**values, "recognisable": self.recognisable}


def step_grid(steps: int) -> list[int]:
    """Return the numbers of steps at which a distillation is looked at: 0, then about three in each power of ten.

    Args:
        steps: Number of steps of the whole distillation.

    Example:
        >>> step_grid(50)
        [0, 1, 3, 10, 30, 50]
    """
    marks = [0, *(int(base * 10**power) for power in range(7) for base in (1, 3))]
    return [mark for mark in marks if mark < steps] + [steps]


def measure_recovery(
    recipe: DistillRecipe, data: ArrayDataModule, steps: Sequence[int] | None = None
) -> list[Recovery]:
    """Distil once, and measure the recovery of the starts as steps grow.

    Args:
        recipe: Recipe of the set.
        data: Data module with the real images.
        steps: Numbers of steps; ``None`` takes `step_grid`.

    Returns:
        One row for each number of steps; none for a set that starts from noise.
    """
    distiller = recipe.build()
    if distiller.init == "noise":
        return []
    marks = step_grid(recipe.steps) if steps is None else sorted(steps)
    watcher = _Snapshots(marks)
    with quiet():
        quiet_trainer(marks[-1], recipe.precision, recipe.device, [watcher]).fit(distiller, datamodule=data)
    rows = start_rows(distiller, data)
    return [recovery(step, made, rows, data) for step, made in watcher.sets.items()]


def recovery(step: int, made: LabeledSet, rows: NDArray[np.int64], data: ArrayDataModule) -> Recovery:
    """Measure the recovery of the starts of one set.

    Training images are reduced as the sub-images of the set are. The search takes all training images.

    Args:
        step: Number of steps.
        made: The set as it would be shipped.
        rows: Row of the training image that each decoded image started from.
        data: Data module with the real images.
    """
    images, _ = data.all_train_arrays()
    pixels = made.decode().pixels.float()
    queries = flat_unit_vectors(pixels)
    found, values = np.zeros(len(pixels), np.int64), np.full(len(pixels), -np.inf)
    for start in range(0, len(images), CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK]))
        index, best = nearest(flat_unit_vectors(reduced(part, made.formation)), queries)
        nearer = best > values
        found[nearer], values[nearer] = index[nearer] + start, best[nearer]
    starts = reduced(torch.from_numpy(np.ascontiguousarray(images[rows])), made.formation)
    correlation = (torch.as_tensor(queries) * torch.as_tensor(flat_unit_vectors(starts))).sum(1).numpy()
    correct = int((found == rows).sum())
    low, high = clopper_pearson(correct, len(rows))
    ssim = structural_similarity(pixels, starts, made.spec)
    return Recovery(
        step,
        float(np.median(ssim)),
        float(np.median(correlation)),
        correct / len(rows),
        low,
        high,
        1 / len(images),
        len(rows),
    )


def forgotten_after(rows: Sequence[Recovery]) -> int | None:
    """Return the least number of steps from which on no more starts are found than by guessing; ``None`` for never.

    Args:
        rows: Rows of `measure_recovery`.
    """
    last: int | None = None
    for row in reversed(rows):
        if row.recognisable:
            break
        last = row.steps
    return last


class _Snapshots(Callback):
    """Keep the set as it would be shipped after some numbers of steps."""

    def __init__(self, marks: Sequence[int]) -> None:
        self.marks = set(marks)
        self.sets: dict[int, LabeledSet] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the start."""
        self._keep(0, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Keep the set of a marked step."""
        self._keep(trainer.global_step, pl_module)

    def _keep(self, step: int, pl_module: LightningModule) -> None:
        if step in self.marks:
            self.sets[step] = exported_set(pl_module.synthetic)  # type: ignore[arg-type]
