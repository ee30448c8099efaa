"""An exam: students are trained on a set, see real batches, and are scored. The one path all scores come from."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_distill.evaluation.metrics.classification import StudentMetrics, class_recalls
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.protocol import ProgressCallback, Protocol, get_protocol
from lightning_distill.evaluation.students.trainer import Student, StudentTrainer
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks import check_network
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.distributed import gather_shards, rank_and_world_size, shard


class StudentEvaluator:
    """Which students are trained, and how.

    Args:
        protocol: a preset of `protocol.PROTOCOLS`, or a `Protocol`.
        students: of each architecture.
        architectures: by our names or timm's.
        seed: student i is seeded by ``seed + i``.
        compile: see `functional.FunctionalNetwork`.

    Raises:
        ValueError: unknown protocol or architecture, fewer than one student.
    """

    def __init__(
        self,
        protocol: str | Protocol = "quick",
        students: int = 3,
        architectures: Sequence[str] = ("convnet",),
        seed: int = 0,
        compile: CompileMode = "auto",
    ) -> None:
        if students < 1:
            raise ValueError(f"students={students}; at least one is needed for a score")
        for name in architectures:
            check_network(name)
        self.protocol = get_protocol(protocol)
        self.seeds = list(range(seed, seed + students))
        self.architectures = list(architectures)
        self.compile = compile
        self._trainers: dict[tuple[str, int, str, bool, DataSpec], StudentTrainer] = {}

    @property
    def epochs(self) -> int:
        """Epochs all students together take: how often ``tick`` is called."""
        return self.epochs_on_this_rank(sharded=False)

    def epochs_on_this_rank(self, sharded: bool) -> int:
        """Epochs on this rank: how often ``tick`` is called here."""
        return len(self._students(sharded)) * (self.protocol.epochs + 1)

    def train(
        self,
        data: Callable[[int], LabeledSet],
        device: torch.device | str = "cpu",
        bf16: bool = False,
        on_epoch: ProgressCallback = lambda: None,
        sharded: bool = False,
    ) -> TrainedStudents:
        """Train all students.

        Args:
            data: ``data(i)`` is what student i of each architecture learns from.
            device: where to compute.
            bf16: forward in bfloat16.
            tick: called after every epoch of every student.
            spread: under ``torch.distributed``, train on each rank its share only; every rank must then show the
                sitting the same images. Else each rank trains all students, and may show them a part of the images.
        """
        began = time.perf_counter()
        mine = self._students(sharded)
        sets = {i: data(i) for i in {0, *(i for _, i in mine)}}
        spec = sets[0].spec
        students = []
        for name in self.architectures:
            numbers = [i for architecture, i in mine if architecture == name]
            school = self._student_trainer(name, len(sets[0].labels), str(device), bf16, spec)
            students += school.fit_many([sets[i] for i in numbers], [self.seeds[i] for i in numbers], on_epoch)
        return TrainedStudents(students, spec, device, began, sharded)

    def _students(self, sharded: bool) -> list[tuple[str, int]]:
        """Architecture and number of the students trained on this rank, in the order of their scores."""
        everyone = [(name, i) for name in self.architectures for i in range(len(self.seeds))]
        return shard(everyone) if sharded else everyone

    def _student_trainer(self, name: str, images: int, device: str, bf16: bool, spec: DataSpec) -> StudentTrainer:
        """One school for equal students: what it compiled for one validation serves the next."""
        key = (name, images, device, bf16, spec)
        if key not in self._trainers:
            count = len(self.seeds)
            self._trainers[key] = StudentTrainer(name, spec, self.protocol, images, count, device, bf16, self.compile)
        return self._trainers[key]


class TrainedStudents:
    """Trained students before real data.

    Args:
        students: trained.
        spec: task and class names of the data.
        device: of students and batches.
        began: ``time.perf_counter()`` at the start of the training.
        spread: these are this rank's share of the students, see `StudentEvaluator.train`.

    Attributes:
        trained: seconds that the training took.
    """

    def __init__(
        self,
        students: list[Student],
        spec: DataSpec,
        device: torch.device | str,
        started_at: float,
        sharded: bool = False,
    ) -> None:
        self.students, self.spec, self.device, self.started_at, self.sharded = students, spec, device, started_at, sharded
        self.training_seconds = time.perf_counter() - started_at
        self.metrics = [StudentMetrics(spec, sync=not sharded).to(device) for _ in students]
        self._told = False

    def update_all(self, batches: Iterable[tuple[Tensor, Tensor]]) -> TrainedStudents:
        """Show all students real images in pixel units, normalised by mean and std of what they learned from."""
        for x, y in batches:
            self.update(self.spec.normalize(x.to(self.device)), y.to(self.device))
        return self

    def update(self, x: Tensor, y: Tensor) -> None:
        """Show all students normalised images ``(B, C, H, W)`` with labels ``(B,)``, ``(B, 1)`` or multi-label."""
        targets = y if self.spec.task == "multi-label" else y.flatten()
        for student, metrics in zip(self.students, self.metrics, strict=True):
            metrics.update(student.predict(x), targets)

    def scores(self) -> Scores:
        """The scores of everything seen, of all students on every rank; absent classes are named in a warning."""
        reports = [self._report(*pair) for pair in zip(self.students, self.metrics, strict=True)]
        reports = gather_shards(reports) if self.sharded else reports
        if absent := reports[0].absent:
            names = ", ".join(repr(self.spec.class_names[label]) for label in absent)
            which = f"with and without {names}" if self.spec.task == "multi-label" else f"of {names}"
            _warn(f"no real images {which} to score on: left out of balanced accuracy and AUROC")
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

    def predictions(self, split: str, groups: Tensor | None = None) -> Predictions:
        """What all students on every rank said of everything seen, on the CPU.

        Args:
            split: of the images, ``val`` or ``test``.
            groups: ``(N,)``, of images of one patient or lesion one number, in the order the images were shown.

        Raises:
            ValueError: groups where each rank saw a part of the images, whose order is lost.
        """
        _, ranks = rank_and_world_size()
        if groups is not None and not self.sharded and ranks > 1:
            raise ValueError(f"groups of images spread over {ranks} ranks; show every rank all images")
        said = [
            (student.architecture, student.seed, *metrics.all_predictions(), metrics.diverged)
            for student, metrics in zip(self.students, self.metrics, strict=True)
        ]
        said = gather_shards(said) if self.sharded else said
        architectures, seeds, logits, targets, diverged = zip(*said, strict=True)
        self._warn_diverged(
            [(name, seed) for name, seed, gone in zip(architectures, seeds, diverged, strict=True) if gone]
        )
        return Predictions(torch.stack(logits), targets[0], self.spec, list(seeds), list(architectures), groups, split)

    def _report(self, student: Student, metrics: StudentMetrics) -> _StudentReport:
        scores, recall = metrics.scores(), class_recalls(*metrics.all_predictions(), self.spec)
        seconds = time.perf_counter() - self.started_at
        return _StudentReport(
            student.architecture, student.seed, scores, recall, metrics.absent, metrics.diverged, seconds
        )

    def _warn_diverged(self, diverged: Sequence[tuple[str, int]]) -> None:
        """One warning that names the students that diverged, however often it is asked for scores."""
        if diverged and not self._told:
            self._told = True
            names = ", ".join(f"{architecture!r} with seed {seed}" for architecture, seed in diverged)
            advice = "counted as finding all classes equally probable; try a lower learning rate"
            _warn(f"students diverged, their logits are not finite ({names}): {advice}")


@dataclass(frozen=True)
class _StudentReport:
    """What a rank tells the others of one student."""

    architecture: str
    seed: int
    scores: dict[str, float]
    recalls: dict[str, float]
    absent: list[int]
    diverged: bool
    seconds: float


def _warn(message: str) -> None:
    """On the first rank only; ``rank_zero_warn`` fails where nobody has imported Lightning."""
    if rank_and_world_size()[0] == 0:
        warnings.warn(message, stacklevel=3)


def evaluate_students(
    evaluator: StudentEvaluator,
    data: Callable[[int], LabeledSet],
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device | str = "cpu",
    bf16: bool = False,
    on_epoch: ProgressCallback = lambda: None,
) -> Scores:
    """Train students on ``data(i)`` and score them on real batches in pixel units, outside any Trainer.

    Args:
        exam: which students.
        data: what student i learns from.
        batches: real images ``(B, C, H, W)`` in pixel units and labels.
        device: where to compute.
        bf16: forward in bfloat16.
        tick: called after every epoch.
    """
    return evaluator.train(data, device, bf16, on_epoch).update_all(batches).scores()
