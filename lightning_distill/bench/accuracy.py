"""What the same seeds and steps come to, ours and the textbook's: the accuracy that belongs to a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.bench import reference as textbook
from lightning_distill.bench.cases import BenchmarkCase, Variant, make_ours, make_textbook
from lightning_distill.bench.measure import quiet_trainer, silence
from lightning_distill.callbacks.student_evaluation import exported_set
from lightning_distill.data import ArrayDataModule, DigitsDataModule, MNISTDataModule
from lightning_distill.evaluation import LabeledSet, Protocol, Scores, StudentEvaluator, evaluate_students
from lightning_distill.utils.rng import isolated_rng


def real_data(real_per_class: int = 256) -> ArrayDataModule:
    """FashionMNIST where its files are found, else MNIST, else scikit-learn's digits."""
    for name in ("fashionmnist", "mnist"):
        data = MNISTDataModule(name, download=False, real_per_class=real_per_class)
        try:
            data.setup()
        except FileNotFoundError:
            continue
        return data
    return DigitsDataModule(real_per_class=real_per_class)


def distil_ours(job: BenchmarkCase, variant: Variant, steps: int) -> LabeledSet:
    """What ours makes in so many steps, as it is shipped."""
    distiller = make_ours(job, variant.compile)
    with silence():
        quiet_trainer(steps, variant.precision, job.device, []).fit(distiller, datamodule=job.data)
    return exported_set(distiller.synthetic)


def distil_textbook(job: BenchmarkCase, steps: int, make: Callable[[BenchmarkCase], Any] = make_textbook) -> LabeledSet:
    """What the textbook makes in so many steps from the same images, shipped in the same way."""
    with isolated_rng(job.seed):
        rival = make(job)
        for _ in range(steps):
            rival.step()
    synthetic = job.begin()
    synthetic.images.data.copy_(rival.images.detach())
    return exported_set(synthetic.add_learnables(lr=rival.rate.item() if job.path == "mtt" else None))


def score_set(
    given: LabeledSet,
    data: ArrayDataModule,
    network: str,
    epochs: int,
    students: int,
    device: str,
    variant: Variant | None = None,
) -> Scores:
    """Our students of ``epochs + 1`` epochs before the validation split."""
    variant = variant or Variant(compile="auto")
    exam = StudentEvaluator(Protocol("bench", epochs), students, [network], compile=variant.compile)
    return evaluate_students(
        exam, lambda student: given, data.val_dataloader(), device, variant.precision == "bf16-mixed"
    )


def score_textbook_students(given: LabeledSet, job: BenchmarkCase, epochs: int, students: int) -> Scores:
    """The textbook's students of ``epochs + 1`` epochs before the validation split: their ``acc`` alone."""
    spec, found = given.spec, Scores()
    images, labels = spec.normalize(given.pixels).to(job.device), given.labels.to(job.device)
    for seed in range(students):
        with isolated_rng(seed):
            student = textbook.Student(images, labels, job.build, PRESETS[spec.augmentation], epochs)
            for _ in range(epochs + 1):
                student.step()
        found.students.append({"acc": _accuracy(student.network, job)})
        found.seeds.append(seed)
        found.architectures.append(job.size.network)
    return found


@torch.no_grad()
def _accuracy(network: torch.nn.Module, job: BenchmarkCase) -> float:
    right = total = 0
    for x, y in job.data.val_dataloader():
        guess = network(job.data.spec.normalize(x.to(job.device))).argmax(1)
        right, total = right + int((guess.cpu() == y.flatten()).sum()), total + len(y)
    return right / total
