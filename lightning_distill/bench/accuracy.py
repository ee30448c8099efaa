"""Accuracy of this library and of the reference implementation with equal seeds and steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.bench.cases import BenchmarkCase, Variant, make_distiller, make_reference
from lightning_distill.bench.measure import silence_lightning
from lightning_distill.bench.reference import Student
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.data import ArrayDataModule, DigitsDataModule, MNISTDataModule
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation import LabeledSet, Protocol, Scores, StudentEvaluator, evaluate_students
from lightning_distill.utils.rng import isolated_rng


def real_data(real_per_class: int = 256) -> ArrayDataModule:
    """Load FashionMNIST if its files exist, else MNIST, else scikit-learn's digits."""
    for name in ("fashionmnist", "mnist"):
        data = MNISTDataModule(name, download=False, real_per_class=real_per_class)
        try:
            data.setup()
        except FileNotFoundError:
            continue
        return data
    return DigitsDataModule(real_per_class=real_per_class)


def distill(case: BenchmarkCase, variant: Variant, steps: int, **overrides: object) -> LabeledSet:
    """Distil with this library for a number of steps and return the exported set.

    Args:
        case: Data, size and seed.
        variant: Precision and compile mode.
        steps: Number of steps.
        **overrides: Further arguments of the distiller.
    """
    distiller = make_distiller(case, variant.compile, **overrides)
    with silence_lightning():
        quiet_trainer(steps, variant.precision, case.device, []).fit(distiller, datamodule=case.data)
    return exported_set(distiller.synthetic)


def distill_reference(
    case: BenchmarkCase, steps: int, make: Callable[[BenchmarkCase], Any] = make_reference
) -> LabeledSet:
    """Distil with the reference implementation from the same initial images and return the exported set."""
    with isolated_rng(case.seed):
        reference = make(case)
        for _ in range(steps):
            reference.step()
    synthetic = case.init_synthetic()
    synthetic.images.data.copy_(reference.images.detach())
    return exported_set(synthetic.add_learnables(lr=reference.rate.item() if case.path == "mtt" else None))


def score_set(
    synthetic_set: LabeledSet,
    data: ArrayDataModule,
    network: str,
    epochs: int,
    students: int,
    device: str,
    variant: Variant | None = None,
) -> Scores:
    """Train students of this library for ``epochs + 1`` epochs and score them on the validation split."""
    variant = variant or Variant(compile="auto")
    evaluator = StudentEvaluator(
        Protocol("bench", epochs), students=students, architectures=[network], compile=variant.compile
    )
    return evaluate_students(
        evaluator,
        lambda student: synthetic_set,
        data.val_dataloader(),
        device=device,
        bf16=variant.precision == "bf16-mixed",
    )


def score_reference_students(synthetic_set: LabeledSet, case: BenchmarkCase, epochs: int, students: int) -> Scores:
    """Train reference students for ``epochs + 1`` epochs and score ``acc`` on the validation split."""
    spec, scores = synthetic_set.spec, Scores()
    images, labels = spec.normalize(synthetic_set.pixels).to(case.device), synthetic_set.labels.to(case.device)
    for seed in range(students):
        with isolated_rng(seed):
            student = Student(images, labels, case.build, PRESETS[spec.augmentation], epochs)
            for _ in range(epochs + 1):
                student.step()
        scores.students.append({"acc": _accuracy(student.network, case)})
        scores.seeds.append(seed)
        scores.architectures.append(case.size.network)
    return scores


@torch.no_grad()
def _accuracy(network: torch.nn.Module, case: BenchmarkCase) -> float:
    correct = total = 0
    for x, y in case.data.val_dataloader():
        predicted = network(case.data.spec.normalize(x.to(case.device))).argmax(1)
        correct, total = correct + int((predicted.cpu() == y.flatten()).sum()), total + len(y)
    return correct / total
