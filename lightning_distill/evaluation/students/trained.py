"""``TrainedStudents``: score trained students on real batches. All reported scores are computed here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_distill.evaluation.metrics.classification import StudentMetrics, class_recalls
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.trainer import Student
from lightning_distill.spec import DataSpec
from lightning_distill.utils.distributed import gather_shards, rank_and_world_size, warn_on_first_rank


class TrainedStudents:
    """Trained students that are scored on real images.

    Args:
        students: Trained students.
        spec: Task and class names of the data, and the mean and std that `update_all` normalises by.
        device: Device of students and batches.
        started_at: ``time.perf_counter()`` at the start of the training.
        sharded: Whether each rank holds its share of the students, see `StudentEvaluator.train`.

    Attributes:
        training_seconds: Seconds that the training took.
    """

    def __init__(
        self,
        students: list[Student],
        spec: DataSpec,
        *,
        device: torch.device | str,
        started_at: float,
        sharded: bool = False,
    ) -> None:
        self.students, self.spec, self.device = students, spec, device
        self.started_at, self.sharded = started_at, sharded
        self.training_seconds = time.perf_counter() - started_at
        self.metrics = [StudentMetrics(spec, sync=not sharded).to(device) for _ in students]
        self._added_metrics: list[MetricCollection] = []
        self._has_added_metrics = False
        self._warned = False

    def add_metrics(self, metrics: MetricCollection) -> None:
        """Update a copy of these metrics for each student, too.

        Args:
            metrics: Metrics that take logits ``(B, K)`` and labels ``(B,)`` or 0/1 targets ``(B, L)``. They are copied,
                never updated themselves.
        """
        self._has_added_metrics = True
        self._added_metrics = [deepcopy(metrics).to(self.device) for _ in self.students]
        for collection in self._added_metrics:
            collection.reset()
            for metric in collection.values(copy_state=False):
                metric.sync_on_compute = metric.sync_on_compute and not self.sharded

    def update_all(self, batches: Iterable[tuple[Tensor, Tensor]]) -> TrainedStudents:
        """Score all students on batches of real images in pixel units, normalised by the students' mean and std.

        Args:
            batches: Images ``(B, C, H, W)`` in pixel units, and labels.

        Returns:
            These students.
        """
        for x, y in batches:
            self.update(self.spec.normalize(x.to(self.device)), y.to(self.device))
        return self

    def update(self, x: Tensor, y: Tensor) -> None:
        """Score all students on a batch of real images.

        Args:
            x: Normalised images ``(B, C, H, W)``.
            y: Labels ``(B,)`` or ``(B, 1)``, or 0/1 targets ``(B, L)`` of multi-label data.
        """
        targets = y if self.spec.task == "multi-label" else y.flatten()
        for number, (student, metrics) in enumerate(zip(self.students, self.metrics, strict=True)):
            logits = student.predict(x)
            metrics.update(logits, targets)
            if self._added_metrics:
                finite = logits if logits.isfinite().all() else torch.zeros_like(logits)
                self._added_metrics[number].update(finite, targets.long())

    def scores(self) -> Scores:
        """Return the scores of all students on every rank, on all images seen; warn of classes without images."""
        reports = [self._report(*pair) for pair in zip(self.students, self.metrics, strict=True)]
        reports = gather_shards(reports) if self.sharded else reports
        if absent := reports[0].absent:
            names = ", ".join(repr(self.spec.class_names[label]) for label in absent)
            which = f"with and without {names}" if self.spec.task == "multi-label" else f"of {names}"
            warn_on_first_rank(f"no real images {which} to score on: left out of balanced accuracy and AUROC")
        diverged = [(report.architecture, report.seed) for report in reports if report.diverged]
        self._warn_diverged(diverged)
        return Scores(
            [report.scores for report in reports],
            [report.seed for report in reports],
            [report.architecture for report in reports],
            max(report.seconds for report in reports),
            [report.recalls for report in reports],
            [seed for _, seed in diverged],
        )

    def added_scores(self) -> dict[str, float]:
        """Return the mean over all students on every rank of each metric of `add_metrics`; empty without one.

        Raises:
            ValueError: A metric that returns more than one number.
        """
        if not self._has_added_metrics:
            return {}
        values = [_to_floats(metrics.compute()) for metrics in self._added_metrics]
        values = gather_shards(values) if self.sharded else values
        return {name: sum(student[name] for student in values) / len(values) for name in values[0]}

    def predictions(self, split: str, groups: Tensor | None = None) -> Predictions:
        """Return the logits of all students on every rank on all images seen, on the CPU.

        Args:
            split: Split of the images, ``val`` or ``test``.
            groups: Number of the patient or lesion of each image, ``(N,)``, in the order of the images.

        Raises:
            ValueError: Groups given while each rank sees a part of the images: their order is lost.
        """
        _, ranks = rank_and_world_size()
        if groups is not None and not self.sharded and ranks > 1:
            raise ValueError(f"groups of images spread over {ranks} ranks; show every rank all images")
        results = [
            (student.architecture, student.seed, *metrics.all_predictions(), metrics.diverged)
            for student, metrics in zip(self.students, self.metrics, strict=True)
        ]
        results = gather_shards(results) if self.sharded else results
        architectures, seeds, logits, targets, diverged = zip(*results, strict=True)
        self._warn_diverged(
            [(name, seed) for name, seed, failed in zip(architectures, seeds, diverged, strict=True) if failed]
        )
        return Predictions(torch.stack(logits), targets[0], self.spec, list(seeds), list(architectures), groups, split)

    def _report(self, student: Student, metrics: StudentMetrics) -> _StudentReport:
        scores, recall = metrics.scores(), class_recalls(*metrics.all_predictions(), self.spec)
        seconds = time.perf_counter() - self.started_at
        return _StudentReport(
            student.architecture, student.seed, scores, recall, metrics.absent, metrics.diverged, seconds
        )

    def _warn_diverged(self, diverged: Sequence[tuple[str, int]]) -> None:
        """Warn once of the students that diverged."""
        if diverged and not self._warned:
            self._warned = True
            names = ", ".join(f"{architecture!r} with seed {seed}" for architecture, seed in diverged)
            advice = "counted as finding all classes equally probable; try a lower learning rate"
            warn_on_first_rank(f"students diverged, their logits are not finite ({names}): {advice}")


@dataclass(frozen=True)
class _StudentReport:
    """Results of one student, gathered from its rank."""

    architecture: str
    seed: int
    scores: dict[str, float]
    recalls: dict[str, float]
    absent: list[int]
    diverged: bool
    seconds: float


def _to_floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the values of metrics as numbers."""
    for name, value in values.items():
        if value.numel() != 1:
            shape = tuple(value.shape)
            raise ValueError(f"the metric {name!r} returns {shape} numbers, not one; use another average, e.g. 'macro'")
    return {name: float(value) for name, value in values.items()}
