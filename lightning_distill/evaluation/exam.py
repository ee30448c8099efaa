"""An exam: students are trained on a set, see real batches, and are scored. The one path all scores come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_distill.evaluation.metrics import StudentMetrics
from lightning_distill.evaluation.protocol import Protocol, get_protocol
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.student import School, Student, Tick, TrainingSet
from lightning_distill.functional import CompileMode
from lightning_distill.networks import check_network
from lightning_distill.spec import DataSpec


class Exam:
    """Which students are trained, and how.

    Args:
        protocol: a preset of `protocol.PROTOCOLS`, or a `Protocol`.
        students: of each architecture.
        architectures: by our names or timm's.
        seed: student i is seeded by ``seed + i``.
        compile: see `functional.Stateless`.

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
        self._schools: dict[tuple[str, int, str, bool, DataSpec], School] = {}

    @property
    def epochs(self) -> int:
        """Epochs all students together take: how often ``tick`` is called."""
        return len(self.seeds) * len(self.architectures) * (self.protocol.epochs + 1)

    def train(
        self,
        data: Callable[[int], TrainingSet],
        device: torch.device | str = "cpu",
        bf16: bool = False,
        tick: Tick = lambda: None,
    ) -> Sitting:
        """Train all students, in turn; ``data(i)`` is what student i learns from."""
        began = time.perf_counter()
        sets = [data(i) for i in range(len(self.seeds))]
        students = []
        for name in self.architectures:
            school = self._school(name, len(sets[0].labels), str(device), bf16, sets[0].spec)
            students += [school.train(part, seed, tick) for part, seed in zip(sets, self.seeds, strict=True)]
        return Sitting(students, sets[0].spec.class_names, device, began)

    def _school(self, name: str, images: int, device: str, bf16: bool, spec: DataSpec) -> School:
        """One school for equal students: what it compiled for one validation serves the next."""
        key = (name, images, device, bf16, spec)
        if key not in self._schools:
            count = len(self.seeds)
            self._schools[key] = School(name, spec, self.protocol, images, count, device, bf16, self.compile)
        return self._schools[key]


class Sitting:
    """Trained students before real data.

    Args:
        students: trained.
        class_names: for messages.
        device: of students and batches.
        began: ``time.perf_counter()`` at the start of the training.
    """

    def __init__(
        self, students: list[Student], class_names: Sequence[str], device: torch.device | str, began: float
    ) -> None:
        self.students, self.class_names, self.began = students, class_names, began
        self.metrics = [StudentMetrics(len(class_names)).to(device) for _ in students]

    def see(self, x: Tensor, y: Tensor) -> None:
        """Score every student on a batch of normalised images ``(B, C, H, W)`` and labels ``(B,)`` or ``(B, 1)``."""
        for student, metrics in zip(self.students, self.metrics, strict=True):
            metrics.update(student.predict(x), y.flatten())

    def scores(self) -> Scores:
        """The scores of everything seen; classes absent from it are named in a warning."""
        results = [metrics.scores() for metrics in self.metrics]
        if absent := self.metrics[0].absent:
            names = ", ".join(repr(self.class_names[label]) for label in absent)
            rank_zero_warn(f"no real images of {names} to score on: left out of balanced accuracy and AUROC")
        return Scores(
            results,
            [student.seed for student in self.students],
            [student.architecture for student in self.students],
            time.perf_counter() - self.began,
        )


def examine(
    exam: Exam,
    data: Callable[[int], TrainingSet],
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device | str = "cpu",
    bf16: bool = False,
    tick: Tick = lambda: None,
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
    sitting, spec = exam.train(data, device, bf16, tick), data(0).spec
    for x, y in batches:
        sitting.see(spec.normalize(x.to(device)), y.to(device))
    return sitting.scores()
