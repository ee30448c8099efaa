"""``lightning-distill indicator``: what distillation may reach on some data, before any is done."""

from __future__ import annotations

import datetime
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from lightning_distill.commands.evaluate import data_options
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import (
    LabeledSet,
    Scores,
    StudentEvaluator,
    coreset_sampler,
    evaluate_students,
    full_data,
)
from lightning_distill.evaluation.result_table import percent
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.functional.compile import CompileMode
from lightning_distill.indicator import DifficultyStats, MethodFit, Study, measure_predictors, read_study
from lightning_distill.indicator.predictors import NEIGHBOURS
from lightning_distill.sets.storage import check_writable
from lightning_distill.sets.synthetic import SmallClass, images_per_class, limit_to_available
from lightning_distill.utils.csv_rows import write_csv

Precision = Literal["32-true", "bf16-mixed"]
#: What a job is called, images of a subset, who learns from it, and what student i is given.
Job = tuple[str, int, StudentEvaluator, Callable[[int], LabeledSet]]


@dataclass(frozen=True)
class Row:
    """One ipc and method: what was measured, and what the study makes of it. Accuracies are fractions.

    ``random_acc_ci95_half_width`` is half the width of the t-interval over draws; ``low`` and ``high`` end the 95 % prediction
    interval; ``error`` is what the method's line missed data sets by that it was not fitted to.
    """

    dataset: str
    source: str
    classes: int
    train_images: int
    smallest_class: int
    knn_acc: float
    knn_balanced_acc: float
    separability: float
    full_acc: float
    full_balanced_acc: float
    ipc: int
    images: int
    random_acc: float
    random_acc_std: float
    random_acc_ci95_half_width: float
    random_balanced_acc: float
    random_balanced_acc_std: float
    method: str
    predicted_acc: float
    low: float
    high: float
    error: float
    outside: str
    split: str
    network: str
    protocol: str
    students: int
    seeds: str
    precision: str
    study: str
    date: str
    command: str


def indicator(
    data: ArrayDataModule,
    ipc: int | list[int] = 10,
    students: int = 5,
    protocol: str = "reference",
    network: str = "convnet",
    full: bool = False,
    split: Literal["val", "test"] = "val",
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    compile: CompileMode = "auto",
    on_small_class: SmallClass = "error",
    study: str | None = None,
    out: str | None = None,
) -> list[Row]:
    """Measure random subsets and cheap predictors, and predict from a study what distillation would reach.

    Nothing is distilled. Each student learns from a random subset of its own; its accuracy goes into a line fitted to
    earlier distillations (``benchmarks/indicator.py``), whose error on data it had not seen is told with it.

    Args:
        data: the real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        ipc: images per class, one number or several: ``--ipc '[1,10,50]'``.
        students: for each ipc, each with a draw of its own.
        protocol: ``reference`` or ``quick``.
        network: of the students, by our names or timm's.
        full: also train students on all real data.
        split: real images to score on; ``val``, so that nothing is chosen by looking at ``test``.
        seed: of the first student.
        precision: of the forward.
        accelerator: where to compute.
        compile: see `functional.FunctionalNetwork`.
        on_small_class: where a class has fewer images than asked: ``error``, ``fewer``, ``repeat``.
        study: JSON of another study; by default the one shipped here.
        out: CSV to write the rows to.

    Returns:
        A row for each ipc and method of the study.

    Raises:
        ValueError: a class has fewer images than ``ipc``, multi-label data, fewer than two students, bad names.
        OSError: the folder of ``out`` cannot be written.
    """
    if students < 2:
        raise ValueError(f"students={students}; an interval needs at least 2, and the study has 3 to 5")
    if out is not None:
        check_writable(Path(out).parent)
    if not (sizes := list(dict.fromkeys([ipc] if isinstance(ipc, int) else ipc))):
        raise ValueError("ipc=[]; give at least one number of images per class")
    known, spec = read_study(study), data.spec
    if spec.multi_label:
        raise ValueError(f"{spec.name} is multi-label; the study has data with one label an image only")
    train = data.train_arrays()
    available = np.bincount(train[1], minlength=spec.num_classes)
    counts = [limit_to_available(images_per_class(n, spec), available, spec, on_small_class) for n in sizes]
    exam = StudentEvaluator(
        get_protocol(protocol), students=students, architectures=[network], seed=seed, compile=compile
    )
    jobs: list[Job] = [
        (f"random subsets, ipc {size}", sum(own), exam, coreset_sampler("random", train, own, spec, seed))
        for size, own in zip(sizes, counts, strict=True)
    ]
    if full:
        jobs.append(_everything(data, exam))
    batches = data.val_dataloader() if split == "val" else data.test_dataloader()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if accelerator == "auto" else accelerator
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    scores = []
    with Progress(*columns) as bar:
        # images that pass are counted, not epochs: the time left then holds for small and for large subsets
        task = bar.add_task("nearest neighbours", total=sum(images * sitters.epochs for _, images, sitters, _ in jobs))
        cheap = measure_predictors(train, (batches.images, batches.labels), spec, seed)
        for name, images, sitters, draw in jobs:
            bar.update(task, description=f"{name}, {students} students")
            tick = partial(bar.advance, task, images)
            scores.append(evaluate_students(sitters, draw, batches, device, precision == "bf16-mixed", tick))
    whole = scores.pop() if full else None
    made: dict[str, Any] = {
        "split": split,
        "network": network,
        "protocol": exam.protocol.name,
        "students": students,
        "seeds": f"{exam.seeds[0]}-{exam.seeds[-1]}",
        "precision": precision,
        "study": f"{known.points} points, {known.date}",
        "date": datetime.date.today().isoformat(),
        "command": _command(data, sizes, exam, full, split, precision, on_small_class),
    }
    rows = []
    for size, (_, images, _, _), measured in zip(sizes, jobs, scores, strict=False):
        made |= _measured(data, cheap, whole, size, images, measured)
        acc = measured.mean("acc")
        rows += [Row(**made, **_predicted(known, line, cheap.classes, size, acc, exam)) for line in known.lines]
    title = f"{spec.name} ({spec.source}), {split} split, {exam.protocol.name} protocol, percent"
    _show(rows, cheap, known, title, Console())
    if out is not None:
        write_csv(Path(out), [column.name for column in fields(Row)], [asdict(row) for row in rows])
    return rows


def _everything(data: ArrayDataModule, exam: StudentEvaluator) -> Job:
    train = data.train_arrays()
    protocol = exam.protocol.for_real_data(len(train[1]))
    whole = StudentEvaluator(protocol, len(exam.seeds), exam.architectures, exam.seeds[0], exam.compile)
    return "all real data", len(train[1]), whole, full_data(train, data.spec)


def _measured(
    data: ArrayDataModule, cheap: DifficultyStats, whole: Scores | None, ipc: int, images: int, scores: Scores
) -> dict[str, Any]:
    """The columns of a row that were measured here."""
    numbers = {
        "knn_acc": cheap.knn_acc,
        "knn_balanced_acc": cheap.knn_balanced_acc,
        "separability": cheap.separability,
        "full_acc": math.nan if whole is None else whole.mean("acc"),
        "full_balanced_acc": math.nan if whole is None else whole.mean("balanced_acc"),
        "random_acc": scores.mean("acc"),
        "random_acc_std": scores.std("acc"),
        "random_acc_ci95_half_width": scores.half_interval("acc"),
        "random_balanced_acc": scores.mean("balanced_acc"),
        "random_balanced_acc_std": scores.std("balanced_acc"),
    }
    counts = {"classes": cheap.classes, "train_images": cheap.images, "smallest_class": cheap.smallest_class}
    names = {"dataset": data.spec.name, "source": data.spec.source}
    return {**names, **counts, "ipc": ipc, "images": images, **{key: round(n, 5) for key, n in numbers.items()}}


def _predicted(
    study: Study, line: MethodFit, classes: int, ipc: int, random_acc: float, exam: StudentEvaluator
) -> dict[str, Any]:
    """The columns of a row that the study says."""
    said = line.predict(random_acc)
    numbers = {"predicted_acc": said.acc, "low": said.low, "high": said.high, "error": line.error}
    outside = study.out_of_range(line, classes, ipc, random_acc, exam.architectures[0], exam.protocol.name)
    return {
        "method": line.method,
        "outside": "; ".join(outside),
        **{key: round(number, 5) for key, number in numbers.items()},
    }


def _show(rows: Sequence[Row], cheap: DifficultyStats, study: Study, title: str, console: Console) -> None:
    """What was measured, what is predicted, and what that is worth."""
    first = rows[0]
    known = Table(title=title, show_header=False)
    known.add_row("classes", str(cheap.classes))
    known.add_row("training images (smallest class)", f"{cheap.images:,} ({cheap.smallest_class:,})")
    both = f"{100 * cheap.knn_acc:.1f} (balanced {100 * cheap.knn_balanced_acc:.1f})"
    known.add_row(
        f"{NEIGHBOURS} nearest neighbours of {cheap.train_images_used:,} images, {cheap.scored:,} scored", both
    )
    known.add_row("scatter between classes over within", f"{cheap.separability:.3f}")
    if not math.isnan(first.full_acc):
        known.add_row("all real data", f"{100 * first.full_acc:.1f} (balanced {100 * first.full_balanced_acc:.1f})")
    console.print(known)
    table = Table(title="Predicted accuracy of distilled sets, 95 % interval, percent")
    for column in ("ipc", "random", "balanced", "method", "predicted", "error"):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    before = None
    for row in rows:
        measured = ["", "", ""]
        if row.ipc != before:
            table.add_section()
            random = percent(row.random_acc, row.random_acc_std)
            measured = [str(row.ipc), random, percent(row.random_balanced_acc, row.random_balanced_acc_std)]
        before = row.ipc
        said = f"{100 * row.predicted_acc:.0f} ({100 * row.low:.0f} to {100 * row.high:.0f}){'*' * bool(row.outside)}"
        table.add_row(*measured, row.method, said, f"{100 * row.error:.1f}")
    console.print(table)
    console.print("random: subsets of that size; error: on data sets a line was not fitted to, points", highlight=False)
    if any(row.outside for row in rows):
        console.print("*: outside of the study, see the warnings below", highlight=False)
    console.print(f"Not measured, predicted. {study.about()}", highlight=False)
    if study.unlike:
        told = f"In {study.unlike} of its points the two rows differ in more than the set, see indicator_points.csv."
        console.print(told, highlight=False)
    if first.split not in study.splits:
        console.print(f"Its accuracies are of {' and '.join(study.splits)} images, these of {first.split} images.")
    for line in study.lines:
        console.print(f"  {line.describe_error()}", highlight=False)
    if first.dataset in study.datasets:
        told = f"Warning: {first.dataset} is in the study, with sets that were distilled: look there first"
        console.print(told, style="yellow", highlight=False)
    warnings: dict[tuple[int, str], list[str]] = {}
    for row in rows:
        if row.outside:
            warnings.setdefault((row.ipc, row.outside), []).append(row.method)
    for (ipc, outside), methods in warnings.items():
        told = f"Warning: ipc {ipc} is outside of the study of {', '.join(methods)}: {outside}"
        console.print(told, style="yellow", highlight=False)


def _command(
    data: ArrayDataModule,
    sizes: Sequence[int],
    exam: StudentEvaluator,
    full: bool,
    split: str,
    precision: Precision,
    on_small_class: SmallClass,
) -> str:
    """The command that makes these rows again, without any folder of this machine."""
    parts = ["lightning-distill", "indicator", *data_options("data", data)]
    parts += ["--ipc", f"[{','.join(map(str, sizes))}]", "--students", str(len(exam.seeds))]
    parts += ["--protocol", exam.protocol.name, "--network", exam.architectures[0]]
    if full:
        parts += ["--full", "true"]
    parts += ["--split", split, "--seed", str(exam.seeds[0]), "--precision", precision]
    if on_small_class != "error":
        parts += ["--on_small_class", on_small_class]
    return shlex.join(parts)
