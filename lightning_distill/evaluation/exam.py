"""An exam: students are trained on a set, see real batches, and are scored. The one path all scores come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_distill.evaluation.metrics import StudentMetrics
from lightning_distill.evaluation.protocol import Protocol, get_protocol
from lightning_distill.evaluation.ranks import gather, share
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
        return self.epochs_here(spread=False)

    def epochs_here(self, spread: bool) -> int:
        """Epochs on this rank: how often ``tick`` is called here."""
        return len(self._students(spread)) * (self.protocol.epochs + 1)

    def train(
        self,
        data: Callable[[int], TrainingSet],
        device: torch.device | str = "cpu",
        bf16: bool = False,
        tick: Tick = lambda: None,
        spread: bool = False,
    ) -> Sitting:
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
        mine = self._students(spread)
        sets = {i: data(i) for i in {0, *(i for _, i in mine)}}
        spec = sets[0].spec
        students = []
        for name in self.architectures:
            numbers = [i for architecture, i in mine if architecture == name]
            school = self._school(name, len(sets[0].labels), str(device), bf16, spec)
            students += school.train_all([sets[i] for i in numbers], [self.seeds[i] for i in numbers], tick)
        return Sitting(students, spec.class_names, device, began, spread)

    def _students(self, spread: bool) -> list[tuple[str, int]]:
        """Architecture and number of the students trained on this rank, in the order of their scores."""
        everyone = [(name, i) for name in self.architectures for i in range(len(self.seeds))]
        return share(everyone) if spread else everyone

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
        spread: these are this rank's share of the students, see `Exam.train`.
    """

    def __init__(
        self,
        students: list[Student],
        class_names: Sequence[str],
        device: torch.device | str,
        began: float,
        spread: bool = False,
    ) -> None:
        self.students, self.class_names, self.began, self.spread = students, class_names, began, spread
        self.metrics = [StudentMetrics(len(class_names), sync=not spread).to(device) for _ in students]

    def see(self, x: Tensor, y: Tensor) -> None:
        """Score every student on a batch of normalised images ``(B, C, H, W)`` and labels ``(B,)`` or ``(B, 1)``."""
        for student, metrics in zip(self.students, self.metrics, strict=True):
            metrics.update(student.predict(x), y.flatten())

    def scores(self) -> Scores:
        """The scores of everything seen, of all students on every rank; absent classes are named in a warning."""
        results = [(metrics.scores(), metrics.absent) for metrics in self.metrics]
        seconds = time.perf_counter() - self.began
        reports = [
            (student.seed, student.architecture, *result, seconds)
            for student, result in zip(self.students, results, strict=True)
        ]
        seeds, architectures, scores, absent, took = zip(*(gather(reports) if self.spread else reports), strict=True)
        if absent[0]:
            names = ", ".join(repr(self.class_names[label]) for label in absent[0])
            rank_zero_warn(f"no real images of {names} to score on: left out of balanced accuracy and AUROC")
        return Scores(list(scores), list(seeds), list(architectures), max(took))


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
