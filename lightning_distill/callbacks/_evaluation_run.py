"""``EvaluationRun``: the students of one validation or test, scored on each loader apart."""

from __future__ import annotations

import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_distill.callbacks._data_source import gives_pixel_units
from lightning_distill.callbacks._image_space import batch_space, to_student_space
from lightning_distill.callbacks._labels import class_labels
from lightning_distill.callbacks._lightning_private import current_evaluation_loader, number_of_evaluation_loaders
from lightning_distill.callbacks._log_names import loader_suffix
from lightning_distill.callbacks._random_baseline import RandomBaseline
from lightning_distill.callbacks.evaluated_set import EvaluatedSet, raise_shape
from lightning_distill.callbacks.progress import student_progress
from lightning_distill.data.batches import BatchFormat
from lightning_distill.data.loaders import SequentialLoader
from lightning_distill.evaluation import StudentEvaluator, TrainedStudents


class EvaluationRun:
    """Students of one validation or test. They are trained when the first batch has been checked.

    Args:
        trainer: Trainer in a validation or test.
        stage: ``val`` or ``test``.
        evaluated: Set to train the students on.
        evaluator: Evaluator of the set.
        baseline: Random baselines that are measured already.
        measure_baseline: Whether to measure the missing ones.
        metrics: Additional metrics.
        batch_format: Place of images and labels in a batch.
    """

    def __init__(
        self,
        trainer: Trainer,
        stage: str,
        evaluated: EvaluatedSet,
        evaluator: StudentEvaluator,
        *,
        baseline: RandomBaseline,
        measure_baseline: bool,
        metrics: MetricCollection | None,
        batch_format: BatchFormat,
    ) -> None:
        self.stage, self.evaluated, self.evaluator = stage, evaluated, evaluator
        self._baseline, self._measure_baseline = baseline, measure_baseline
        self._metrics, self._format = metrics, batch_format
        loaders = number_of_evaluation_loaders(trainer)
        #: Suffix of the log keys of each loader.
        self.suffixes = [loader_suffix(number, loaders) for number in range(loaders)]
        self._students: list[TrainedStudents] = []
        self._random: list[TrainedStudents | None] = []

    def update(self, trainer: Trainer, pl_module: LightningModule, batch: object, loader: int) -> None:
        """Check a real batch, train the students if it is the first, and score them on it.

        Args:
            trainer: Trainer in a validation or test.
            pl_module: Module of the run.
            batch: Batch as the module gets it.
            loader: Number of its loader.
        """
        x, y = self._check(trainer, batch, loader)
        device = pl_module.device
        for trained in (self.students(trainer, pl_module, loader), self._random[loader]):
            if trained is not None:
                trained.update(x.to(device), y.to(device))

    def students(self, trainer: Trainer, pl_module: LightningModule, loader: int) -> TrainedStudents:
        """Return the students with their metrics on one loader; the first call trains them and the baseline."""
        if not self._students:
            self._train(trainer, pl_module)
        return self._students[loader]

    def random_acc(self, loader: int) -> float | None:
        """Return the accuracy of the random baseline on one loader, and store it; ``None`` if it is not measured."""
        source = self._source(loader)
        if (trained := self._random[loader]) is not None:
            self._random[loader] = None
            self._baseline.store(source, self.evaluated, self.evaluator, trained.scores().mean("acc"))
        return self._baseline.acc(source, self.evaluated, self.evaluator)

    def _source(self, loader: int) -> str:
        return "/".join(filter(None, (self.stage, self.suffixes[loader])))

    def _check(self, trainer: Trainer, batch: object, loader: int) -> tuple[Tensor, Tensor]:
        """Return images in the students' space and labels."""
        train_spec = self.evaluated.train_spec
        x, y = self._format(batch, self.stage)
        if tuple(x.shape[1:]) != train_spec.shape:
            raise_shape(train_spec, tuple(x.shape[1:]))
        labels = class_labels(y, train_spec, self.stage)
        space = batch_space(x, gives_pixel_units(trainer, loader))
        self.evaluated.check_space(space)
        return to_student_space(x, space, train_spec), labels

    def _train(self, trainer: Trainer, pl_module: LightningModule) -> None:
        evaluator, evaluated, device = self.evaluator, self.evaluated, pl_module.device
        bf16 = "bf16" in str(trainer.precision)
        sharded = isinstance(current_evaluation_loader(trainer), SequentialLoader)  # all ranks see all images
        epochs = evaluator.epochs_on_this_rank(sharded)
        with student_progress(trainer, epochs, f"{len(evaluator.seeds)} students") as on_epoch:
            trained = evaluator.train(
                lambda _: evaluated.data, device=device, bf16=bf16, on_epoch=on_epoch, sharded=sharded
            )
        self._students = _for_each_loader(trained, len(self.suffixes), device)
        if self._metrics is not None:
            for students in self._students:
                students.add_metrics(self._metrics)
        self._random = [None] * len(self.suffixes)
        missing = [
            number
            for number in range(len(self.suffixes))
            if self._baseline.acc(self._source(number), evaluated, evaluator) is None
        ]
        if self._measure_baseline and missing:
            students_of_random = self._baseline.train(
                trainer, pl_module, evaluated, evaluator, batch_format=self._format, bf16=bf16, sharded=sharded
            )
            if students_of_random is not None:
                copies = _for_each_loader(students_of_random, len(self.suffixes), device)
                self._random = [each if number in missing else None for number, each in enumerate(copies)]


def _for_each_loader(trained: TrainedStudents, loaders: int, device: torch.device) -> list[TrainedStudents]:
    """Return the same students with metrics of their own for each loader."""
    others = [
        TrainedStudents(
            trained.students, trained.spec, device=device, started_at=trained.started_at, sharded=trained.sharded
        )
        for _ in range(loaders - 1)
    ]
    return [trained, *others]
