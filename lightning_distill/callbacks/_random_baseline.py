"""``RandomBaseline``: students of random real images, measured once for each loader and kept in checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.callbacks._data_source import TrainingArrays, TrainingStream, training_data
from lightning_distill.callbacks._image_space import ImageSpace, statistics_for
from lightning_distill.callbacks.evaluated_set import EvaluatedSet
from lightning_distill.callbacks.progress import student_progress
from lightning_distill.data.batches import BatchFormat
from lightning_distill.evaluation import LabeledSet, StudentEvaluator, TrainedStudents, coreset_sampler
from lightning_distill.evaluation.reservoir import ClassReservoirs
from lightning_distill.spec import DataSpec


class RandomBaseline:
    """Accuracy of students of random real images, with equally many images per class as the evaluated set.

    Attributes:
        accs: Mean accuracy over students, by all that it depends on.
    """

    def __init__(self) -> None:
        self.accs: dict[str, float] = {}
        self._warned = False

    def acc(self, source: str, evaluated: EvaluatedSet, evaluator: StudentEvaluator) -> float | None:
        """Return the mean accuracy over students; ``None`` if it is not measured.

        Args:
            source: Stage, and number of the loader if there are several.
            evaluated: Evaluated set.
            evaluator: Evaluator of the set.
        """
        return self.accs.get(_key(source, evaluated, evaluator))

    def store(self, source: str, evaluated: EvaluatedSet, evaluator: StudentEvaluator, acc: float) -> None:
        """Store the mean accuracy over students, see `acc`."""
        self.accs[_key(source, evaluated, evaluator)] = acc

    def train(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        evaluated: EvaluatedSet,
        evaluator: StudentEvaluator,
        *,
        batch_format: BatchFormat,
        bf16: bool,
        sharded: bool,
    ) -> TrainedStudents | None:
        """Train the students. Without training data that can be read, warn once and return ``None``.

        Args:
            trainer: Trainer in a validation or test.
            pl_module: Module of the run.
            evaluated: Evaluated set.
            evaluator: Evaluator of the set.
            batch_format: Place of images and labels in a batch.
            bf16: Whether to run the forward pass in bfloat16.
            sharded: Whether each rank trains its share of the students.
        """
        try:
            data = training_data(trainer, pl_module, evaluated.train_spec, batch_format)
            sampler = _sampler(data, evaluated, evaluator)
        except (ValueError, TypeError) as error:
            if not self._warned:
                rank_zero_warn(f"acc_gain_over_random is not measured: {error}; random_baseline=False turns it off")
            self._warned = True
            return None
        epochs = evaluator.epochs_on_this_rank(sharded)
        with student_progress(trainer, epochs, "students of random subsets") as on_epoch:
            return evaluator.train(sampler, device=pl_module.device, bf16=bf16, on_epoch=on_epoch, sharded=sharded)


def _key(source: str, evaluated: EvaluatedSet, evaluator: StudentEvaluator) -> str:
    """Return all that the score of a random subset depends on as text."""
    data, train_spec = evaluated.data, evaluated.train_spec
    statistics = f"mean {train_spec.mean}, std {train_spec.std}"
    students = f"{evaluator.protocol}, {evaluator.architectures}, {evaluator.seeds}"
    return f"{source}, {data.spec.name} {_counts(data)}, {statistics}, {students}"


def _counts(data: LabeledSet) -> list[int]:
    """Return the number of images of each balance group."""
    counts: list[int] = torch.bincount(data.labels, minlength=len(data.spec.balance_groups)).tolist()
    return counts


def _sampler(
    data: TrainingArrays | TrainingStream, evaluated: EvaluatedSet, evaluator: StudentEvaluator
) -> Callable[[int], LabeledSet]:
    """Return a sampler of a random subset for each student; a stream is read in one pass."""
    counts, seed, spec = _counts(evaluated.data), evaluator.seeds[0], evaluated.train_spec
    if isinstance(data, TrainingArrays):
        evaluated.check_space(data.space)
        available = torch.bincount(torch.as_tensor(data.groups), minlength=len(counts)).tolist()
        _refuse_empty_groups(available, counts, spec)
        return coreset_sampler("random", (data.images, data.groups), counts, statistics_for(data.space, spec), seed)
    reservoirs, spaces = ClassReservoirs(counts, seed, len(evaluator.seeds)), []

    def visit(images: Tensor, groups: NDArray[np.int64], space: ImageSpace) -> None:
        evaluated.check_space(space)
        spaces.append(space)
        reservoirs.add(images.numpy(), groups)

    data.scan(spec, visit)
    _refuse_empty_groups(reservoirs.seen, counts, spec)
    return partial(reservoirs.sample, statistics_for(spaces[0], spec))


def _refuse_empty_groups(available: Sequence[int], counts: Sequence[int], spec: DataSpec) -> None:
    """Raise ValueError for a group of the set without training images."""
    names = spec.balance_groups
    if empty := [name for name, wanted, has in zip(names, counts, available, strict=False) if wanted > 0 and has == 0]:
        raise ValueError(f"no training images of {empty[0]!r}")
