"""``lightning-distill evaluate``: score a set file on real data, beside its baselines."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_distill.coresets import METHODS
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import Exam, TrainingSet, chosen, everything, examine
from lightning_distill.evaluation.protocol import get_protocol
from lightning_distill.evaluation.table import Row, append_csv, make_row, rich_table
from lightning_distill.functional import CompileMode
from lightning_distill.spec import DataSpec
from lightning_distill.storage import check_writable, read_set
from lightning_distill.synthetic import SmallClass, fit_to_classes, images_per_class

Precision = Literal["32-true", "bf16-mixed"]
#: Its name in the table, images of each class (None: all), who learns from it, and what student i is given.
Subject = tuple[str, list[int] | None, Exam, Callable[[int], TrainingSet]]


def evaluate(
    data: ArrayDataModule,
    set: str | None = None,
    baselines: list[str] | None = None,
    ipc: int | list[int] | None = None,
    split: Literal["val", "test"] = "test",
    protocol: str = "reference",
    augmentation: str | None = None,
    students: int = 5,
    architectures: list[str] | None = None,
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    compile: CompileMode = "auto",
    on_small_class: SmallClass = "error",
    out: str | None = None,
) -> list[Row]:
    """Train fresh students on a set file and on its baselines, or on baselines alone, and score them on real data.

    Args:
        data: the real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        set: ``set.safetensors`` or its folder; without one, ``ipc`` says how large the baselines are.
        baselines: any of ``random``, ``herding``, ``kcenter``, ``kmeans`` (as many real images) and ``full`` (all).
        ipc: images per class of baselines that are scored without a set.
        split: real images to score on; choose on ``val``, look at ``test`` once.
        protocol: ``reference`` or ``quick``.
        augmentation: of students, a preset of `augment.PRESETS`; ``None`` takes the set's own.
        students: of each architecture.
        architectures: by our names or timm's; default ``convnet``.
        seed: of the first student.
        precision: of the forward.
        accelerator: where to compute.
        compile: see `functional.Stateless`.
        on_small_class: for baselines, where a class has fewer images than the set: ``error``, ``fewer``, ``repeat``.
        out: CSV that the rows are added to.

    Returns:
        One row for each thing measured.

    Raises:
        ValueError: unknown baseline, a set that does not fit the data, neither set nor ipc, or both.
    """
    baselines = baselines or []
    if unknown := [name for name in baselines if name not in (*METHODS, "full")]:
        raise ValueError(f"unknown baseline {unknown[0]!r}; use any of {', '.join((*METHODS, 'full'))}")
    if out is not None:
        check_writable(Path(out).parent)
    if (set is None) == (ipc is None):
        raise ValueError("give either a set file or, for baselines alone, ipc")
    way = replace(get_protocol(protocol), augmentation=augmentation)
    exam = Exam(way, students, architectures or ["convnet"], seed, compile)
    own, counts = ([], images_per_class(ipc, data.spec)) if ipc is not None else distilled(str(set), data.spec, exam)
    subjects = [*(baseline(name, data, counts, exam, on_small_class) for name in baselines), *own]
    device = ("cuda" if torch.cuda.is_available() else "cpu") if accelerator == "auto" else accelerator
    bf16 = precision == "bf16-mixed"
    command = command_line(set, ipc, data, baselines, split, exam, precision)
    if on_small_class != "error":
        command += f" --on_small_class {on_small_class}"
    rows = []
    with student_bar() as bar:
        for name, ipc, sitters, draw in subjects:
            task = bar.add_task(f"{name}, {students} students", total=sitters.epochs)
            batches = data.val_dataloader() if split == "val" else data.test_dataloader()
            scores = examine(sitters, draw, batches, device, bf16, partial(bar.advance, task))
            row = make_row(name, ipc, len(draw(0).labels), data.spec, split, sitters, scores, bf16, command)
            rows.append(row)
            if out is not None:
                append_csv(Path(out), [row])
    title = f"{data.spec.name} ({data.spec.source}), {split} split, {exam.protocol.name} protocol, percent"
    Console().print(rich_table(rows, title))
    return rows


def baseline(name: str, data: ArrayDataModule, counts: list[int], exam: Exam, on_small_class: SmallClass) -> Subject:
    """What a set is held against: as many real images chosen by a coreset method, or all of them (``full``).

    Raises:
        ValueError: a class has too few images and the policy is ``error``.
    """
    real, spec = data.train_arrays(), data.spec
    if name == "full":
        protocol = exam.protocol.for_real_data(len(real[1]))
        whole = Exam(protocol, len(exam.seeds), exam.architectures, exam.seeds[0], exam.compile)
        return "all real data", None, whole, everything(real, spec)
    there = fit_to_classes(counts, np.bincount(real[1], minlength=spec.num_classes), spec, on_small_class)
    return name, there, exam, chosen(name, real, there, spec, exam.seeds[0])


def distilled(set: str, data: DataSpec, exam: Exam) -> tuple[list[Subject], list[int]]:
    """A set file as somebody who was sent it sees it, and its images per class.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a set file, or not for these data.
    """
    synthetic, card = read_set(set)
    check_fits(synthetic.spec, data)
    counts: list[int] = torch.bincount(synthetic.labels, minlength=data.num_classes).tolist()
    return [(str(card.get("method", "set")), counts, exam, lambda student: synthetic)], counts


def check_fits(made_from: DataSpec, data: DataSpec) -> None:
    """Refuse to score a set on data of another shape or other classes.

    Raises:
        ValueError: with both values.
    """
    if made_from.shape != data.shape:
        raise ValueError(f"the set's images are {made_from.shape} but {data.name} has {data.shape} (C, H, W)")
    if made_from.class_names != data.class_names:
        ours, theirs = ", ".join(made_from.class_names), ", ".join(data.class_names)
        raise ValueError(f"the set's classes are {ours}; those of {data.name} are {theirs}")


def student_bar() -> Progress:
    """A progress bar with what is done, how much, and the time left."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def command_line(
    set: str | None,
    ipc: int | list[int] | None,
    data: ArrayDataModule,
    baselines: list[str],
    split: str,
    exam: Exam,
    precision: Precision,
) -> str:
    """The command that makes these rows again, without any folder of this machine beyond what the user typed."""
    what = ["--set", _relative(set)] if set is not None else ["--ipc", str(ipc)]
    parts = ["lightning-distill", "evaluate", *what, "--data", type(data).__name__]
    for name, value in data.recipe.items():
        parts += [f"--data.{name}", str(value)]
    parts += ["--baselines", f"[{','.join(baselines)}]", "--split", split, "--protocol", exam.protocol.name]
    if exam.protocol.augmentation is not None:
        parts += ["--augmentation", exam.protocol.augmentation]
    if exam.architectures != ["convnet"]:
        parts += ["--architectures", f"[{','.join(exam.architectures)}]"]
    parts += ["--students", str(len(exam.seeds)), "--seed", str(exam.seeds[0]), "--precision", precision]
    return shlex.join(parts)


def _relative(path: str) -> str:
    return path if not Path(path).is_absolute() else Path(path).name
