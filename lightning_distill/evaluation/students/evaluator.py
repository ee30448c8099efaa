"""``StudentEvaluator``: number, architectures, seeds and protocol of the students that score a set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.probe import ProbeTrainer, check_probe
from lightning_distill.evaluation.students.protocol import Protocol, get_protocol
from lightning_distill.evaluation.students.trained import TrainedStudents
from lightning_distill.evaluation.students.trainer import StudentTrainer
from lightning_distill.functional.compile import CompileMode
from lightning_distill.networks.pretrained import is_pretrained, require_loaded
from lightning_distill.networks.resolve import Weights, resolve_networks
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.arguments import check_choices
from lightning_distill.utils.distributed import shard
from lightning_distill.utils.progress import ProgressCallback


def check_trainable(labeled_set: LabeledSet) -> None:
    """Raise ValueError for a set without images, or with a label that is none of its balance groups."""
    labels, groups = labeled_set.labels, len(labeled_set.spec.balance_groups)
    if len(labels) == 0 or len(labels) != len(labeled_set.pixels):
        raise ValueError(f"a set with {len(labeled_set.pixels)} images and {len(labels)} labels cannot train students")
    if labels.ndim == 1 and not 0 <= int(labels.min()) <= int(labels.max()) < groups:
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(f"the set has labels from {low} to {high}, but {labeled_set.spec.name} has {groups} classes")


class StudentEvaluator:
    """Number, architectures, seeds and protocol of the students that score a set.

    Args:
        protocol: Name of a preset in `protocol.PROTOCOLS`, or a `Protocol`.
        students: Number of students of each architecture.
        architectures: Names of networks in this package or in timm.
        seed: Seed of the first student; student i has the seed ``seed + i``.
        compile: When to compile the networks, see `functional.FunctionalNetwork`.
        weights: Path of a local weights file by name of a timm model, see `networks.resolve_networks`. The attribute
            ``architectures`` then holds names with the digest of the file.

    Raises:
        ValueError: Unknown protocol or architecture, fewer than one student, a weights file that does not fit, or the
            protocol ``probe`` with a network without weights.
        FileNotFoundError: A weights file does not exist.

    Example:
        >>> StudentEvaluator("tiny", students=2, architectures=["convnet_w16"]).epochs
        22
    """

    def __init__(
        self,
        protocol: str | Protocol = "quick",
        *,
        students: int = 3,
        architectures: Sequence[str] = ("convnet",),
        seed: int = 0,
        compile: CompileMode = "auto",
        weights: Weights | None = None,
    ) -> None:
        check_choices(type(self).__init__, {"compile": compile})
        if not isinstance(students, int) or students < 1:
            raise ValueError(f"students={students!r}; an integer is needed, and at least one student for a score")
        if not architectures:
            raise ValueError("architectures=[]; give at least one network, e.g. ['convnet']")
        self.protocol = get_protocol(protocol)
        self.architectures = resolve_networks(architectures, weights)
        for name in filter(is_pretrained, self.architectures):
            require_loaded(name)
        if self.protocol.head_only:
            check_probe(self.architectures)
        self.seeds = list(range(seed, seed + students))
        self.compile = compile
        self._trainers: dict[tuple[str, int, str, bool, DataSpec], StudentTrainer | ProbeTrainer] = {}

    @property
    def epochs(self) -> int:
        """Epochs of all students together: the number of calls of ``on_epoch``."""
        return self.epochs_on_this_rank(sharded=False)

    def epochs_on_this_rank(self, sharded: bool) -> int:
        """Return the epochs on this rank: the number of calls of ``on_epoch`` here.

        Args:
            sharded: Whether each rank trains its share of the students.
        """
        return len(self._students(sharded)) * (self.protocol.epochs + 1)

    def train(
        self,
        data: Callable[[int], LabeledSet],
        *,
        device: torch.device | str = "cpu",
        bf16: bool = False,
        on_epoch: ProgressCallback = lambda: None,
        sharded: bool = False,
    ) -> TrainedStudents:
        """Train all students.

        Args:
            data: Function that returns the training set of student i of each architecture.
            device: Device to compute on.
            bf16: Whether to run the forward pass in bfloat16.
            on_epoch: Function that is called after every epoch of every student.
            sharded: Whether each rank of ``torch.distributed`` trains its share of the students; every rank must then
                score them on the same images. Else each rank trains all students and may score them on a part of the
                images.

        Raises:
            ValueError: A set has no images, or a label that is no class.
        """
        started_at = time.perf_counter()
        students_here = self._students(sharded)
        sets = {i: data(i).decode() for i in {0, *(i for _, i in students_here)}}
        spec = sets[0].spec
        for labeled_set in sets.values():
            check_trainable(labeled_set)
        students = []
        for name in self.architectures:
            numbers = [i for architecture, i in students_here if architecture == name]
            trainer = self._student_trainer(name, len(sets[0].labels), str(device), bf16, spec)
            students += trainer.fit_many(
                [sets[i] for i in numbers], [self.seeds[i] for i in numbers], on_epoch=on_epoch
            )
        return TrainedStudents(students, spec, device=device, started_at=started_at, sharded=sharded)

    def _students(self, sharded: bool) -> list[tuple[str, int]]:
        """Return architecture and number of the students trained on this rank, in the order of their scores."""
        students = [(name, i) for name in self.architectures for i in range(len(self.seeds))]
        return shard(students) if sharded else students

    def _student_trainer(
        self, name: str, images: int, device: str, bf16: bool, spec: DataSpec
    ) -> StudentTrainer | ProbeTrainer:
        """Return a trainer that is kept, so that a network is compiled once for all validations."""
        key = (name, images, device, bf16, spec)
        if key not in self._trainers and self.protocol.head_only:
            self._trainers[key] = ProbeTrainer(name, spec, self.protocol, device, bf16)
        elif key not in self._trainers:
            count = len(self.seeds)
            self._trainers[key] = StudentTrainer(
                name,
                spec,
                protocol=self.protocol,
                images=images,
                students=count,
                device=device,
                bf16=bf16,
                compile=self.compile,
            )
        return self._trainers[key]


def evaluate_students(
    evaluator: StudentEvaluator,
    data: Callable[[int], LabeledSet],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    on_epoch: ProgressCallback = lambda: None,
) -> Scores:
    """Train students and score them on real batches, outside of any Trainer.

    Args:
        evaluator: Number, architectures, seeds and protocol of the students.
        data: Function that returns the training set of student i.
        batches: Real images ``(B, C, H, W)`` in pixel units, and labels.
        device: Device to compute on.
        bf16: Whether to run the forward pass in bfloat16.
        on_epoch: Function that is called after every epoch of every student.
    """
    return evaluator.train(data, device=device, bf16=bf16, on_epoch=on_epoch).update_all(batches).scores()
