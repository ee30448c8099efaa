"""``lightning-distill indicator``: predict the accuracy of distilled sets before any distillation."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from lightning_distill.commands._options import Accelerator, Precision, command_line, resolve_device
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import (
    LabeledSet,
    Scores,
    StudentEvaluator,
    coreset_sampler,
    evaluate_students,
    full_data,
)
from lightning_distill.evaluation.candidates import with_protocol
from lightning_distill.evaluation.labels import LABELS
from lightning_distill.evaluation.result_table import percent
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.functional.compile import CompileMode
from lightning_distill.indicator import DifficultyStats, MethodFit, Study, measure_predictors, read_study
from lightning_distill.indicator.predictors import NEIGHBOURS
from lightning_distill.sets.storage import check_writable
from lightning_distill.sets.synthetic import SmallClass, images_per_class, limit_to_available
from lightning_distill.utils.csv_rows import write_csv

#: Description, images per training set, evaluator, and training set of student i.
Job = tuple[str, int, StudentEvaluator, Callable[[int], LabeledSet]]


@dataclass(frozen=True)
class IndicatorRow:
    """Measurements and prediction for one ipc and one method. Accuracies are fractions.

    ``random_acc_ci95_half_width`` is the half width of the t-interval over subsets. ``low`` and ``high`` are the limits
    of the 95 % prediction interval. ``error`` is the mean error of the method's line on left-out data sets.
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
    *,
    students: int = 5,
    protocol: str = "reference",
    network: str = "convnet",
    full: bool = False,
    split: Literal["val", "test"] = "val",
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
    on_small_class: SmallClass = "error",
    study: str | None = None,
    out: str | None = None,
) -> list[IndicatorRow]:
    """Predict the accuracy of distilled sets from random subsets and statistics of the data.

    Nothing is distilled. Each student is trained on its own random subset. The mean accuracy enters a linear fit to
    earlier distillations (``benchmarks/indicator.py``), and its error on left-out data sets is reported.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        ipc: Images per class, one number or several: ``--ipc 1 10 50``.
        students: Number of students for each ipc, at least 2. Each has its own random subset.
        protocol: Training protocol of the students: ``reference``, ``quick`` or ``tiny`` (for tests).
        network: Name of the students' network, of this package or of timm.
        full: Also train students on all real data.
        split: Real images that score the students: ``val`` or ``test``.
        seed: Seed of the first student; the others count up from it.
        precision: Precision of the forward pass: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.
        on_small_class: Policy where a class has fewer images than ipc: ``error``, ``fewer`` or ``repeat``.
        study: JSON file of a study. Default: the study shipped with the package.
        out: CSV file that the rows are written to.

    Returns:
        One row for each ipc and each method of the study.

    Raises:
        ValueError: A class has fewer images than ``ipc``, the data are multi-label, there are fewer than two students,
            or a name is unknown.
        OSError: The folder of ``out`` cannot be written.
    """
    command = command_line(indicator, locals())
    if students < 2:
        raise ValueError(f"students={students}; an interval needs at least 2, and the study has 3 to 5")
    if out is not None:
        check_writable(Path(out).parent)
    if not (sizes := list(dict.fromkeys([ipc] if isinstance(ipc, int) else ipc))):
        raise ValueError("ipc=[]; give at least one number of images per class")
    known, spec = read_study(study), data.spec
    if spec.multi_label:
        raise ValueError(f"{spec.name} is multi-label; the study has single-label data only")
    train = data.train_arrays()
    available = np.bincount(train[1], minlength=spec.num_classes)
    counts = [limit_to_available(images_per_class(n, spec), available, spec, on_small_class) for n in sizes]
    evaluator = StudentEvaluator(
        get_protocol(protocol), students=students, architectures=[network], seed=seed, compile=compile
    )
    jobs: list[Job] = [
        (f"random subsets, ipc {size}", sum(count), evaluator, coreset_sampler("random", train, count, spec, seed))
        for size, count in zip(sizes, counts, strict=True)
    ]
    if full:
        jobs.append(_full_data_job(data, evaluator))
    batches = data.val_dataloader() if split == "val" else data.test_dataloader()
    device = resolve_device(accelerator)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    scores = []
    with Progress(*columns) as bar:
        # images are counted, not epochs, so that the time left is right for small and for large subsets
        task = bar.add_task("nearest neighbours", total=sum(images * job.epochs for _, images, job, _ in jobs))
        stats = measure_predictors(train, (batches.images, batches.labels), spec, seed)
        for name, images, job, sampler in jobs:
            bar.update(task, description=f"{name}, {students} students")
            on_epoch = partial(bar.advance, task, images)
            scores.append(
                evaluate_students(
                    job, sampler, batches, device=device, bf16=precision == "bf16-mixed", on_epoch=on_epoch
                )
            )
    full_scores = scores.pop() if full else None
    shared: dict[str, Any] = {
        "split": split,
        "network": network,
        "protocol": evaluator.protocol.name,
        "students": students,
        "seeds": f"{evaluator.seeds[0]}-{evaluator.seeds[-1]}",
        "precision": precision,
        "study": f"{known.points} points, {known.date}",
        "date": datetime.date.today().isoformat(),
        "command": command,
    }
    rows = []
    for size, (_, images, _, _), measured in zip(sizes, jobs, scores, strict=False):
        shared |= _measured(data, stats, full_scores, size, images, measured)
        acc = measured.mean("acc")
        rows += [
            IndicatorRow(**shared, **_predicted(known, fit, stats.classes, size, acc, evaluator)) for fit in known.lines
        ]
    title = f"{spec.name} ({spec.source}), {split} split, {evaluator.protocol.name} protocol, percent"
    _show(rows, stats, known, title, Console())
    if out is not None:
        write_csv(Path(out), [column.name for column in fields(IndicatorRow)], [asdict(row) for row in rows])
    return rows


def _full_data_job(data: ArrayDataModule, evaluator: StudentEvaluator) -> Job:
    train = data.train_arrays()
    full = with_protocol(evaluator, evaluator.protocol.for_real_data(len(train[1])))
    return LABELS["full"], len(train[1]), full, full_data(train, data.spec)


def _measured(
    data: ArrayDataModule, stats: DifficultyStats, full: Scores | None, ipc: int, images: int, scores: Scores
) -> dict[str, Any]:
    """Return the measured columns of a row."""
    numbers = {
        "knn_acc": stats.knn_acc,
        "knn_balanced_acc": stats.knn_balanced_acc,
        "separability": stats.separability,
        "full_acc": math.nan if full is None else full.mean("acc"),
        "full_balanced_acc": math.nan if full is None else full.mean("balanced_acc"),
        "random_acc": scores.mean("acc"),
        "random_acc_std": scores.std("acc"),
        "random_acc_ci95_half_width": scores.half_interval("acc"),
        "random_balanced_acc": scores.mean("balanced_acc"),
        "random_balanced_acc_std": scores.std("balanced_acc"),
    }
    counts = {"classes": stats.classes, "train_images": stats.images, "smallest_class": stats.smallest_class}
    names = {"dataset": data.spec.name, "source": data.spec.source}
    return {**names, **counts, "ipc": ipc, "images": images, **{key: round(n, 5) for key, n in numbers.items()}}


def _predicted(
    study: Study, fit: MethodFit, classes: int, ipc: int, random_acc: float, evaluator: StudentEvaluator
) -> dict[str, Any]:
    """Return the predicted columns of a row."""
    prediction = fit.predict(random_acc)
    numbers = {"predicted_acc": prediction.acc, "low": prediction.low, "high": prediction.high, "error": fit.error}
    outside = study.out_of_range(fit, classes, ipc, random_acc, evaluator.architectures[0], evaluator.protocol.name)
    return {
        "method": fit.method,
        "outside": "; ".join(outside),
        **{key: round(number, 5) for key, number in numbers.items()},
    }


def _show(rows: Sequence[IndicatorRow], stats: DifficultyStats, study: Study, title: str, console: Console) -> None:
    """Print the measurements, the predictions and their error."""
    first = rows[0]
    measured = Table(title=title, show_header=False)
    measured.add_row("classes", str(stats.classes))
    measured.add_row("training images (smallest class)", f"{stats.images:,} ({stats.smallest_class:,})")
    both = f"{100 * stats.knn_acc:.1f} (balanced {100 * stats.knn_balanced_acc:.1f})"
    measured.add_row(
        f"{NEIGHBOURS} nearest neighbours of {stats.train_images_used:,} images, {stats.scored:,} scored", both
    )
    measured.add_row("scatter between classes over within", f"{stats.separability:.3f}")
    if not math.isnan(first.full_acc):
        measured.add_row(LABELS["full"], f"{100 * first.full_acc:.1f} (balanced {100 * first.full_balanced_acc:.1f})")
    console.print(measured)
    table = Table(title="Predicted accuracy of distilled sets, 95 % interval, percent")
    for column in ("ipc", "random", "balanced", "method", "predicted", "error"):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    before = None
    for row in rows:
        cells = ["", "", ""]
        if row.ipc != before:
            table.add_section()
            random = percent(row.random_acc, row.random_acc_std)
            cells = [str(row.ipc), random, percent(row.random_balanced_acc, row.random_balanced_acc_std)]
        before = row.ipc
        predicted = (
            f"{100 * row.predicted_acc:.0f} ({100 * row.low:.0f} to {100 * row.high:.0f}){'*' * bool(row.outside)}"
        )
        table.add_row(*cells, row.method, predicted, f"{100 * row.error:.1f}")
    console.print(table)
    console.print(
        "random: random subsets of that size; error: on left-out data sets, percentage points", highlight=False
    )
    if any(row.outside for row in rows):
        console.print("*: outside of the range of the study, see the warnings below", highlight=False)
    console.print(f"These accuracies are predicted, not measured. {study.about()}", highlight=False)
    if study.unlike:
        message = (
            f"{study.unlike} of its points compare runs that differ in more than the set, see indicator_points.csv."
        )
        console.print(message, highlight=False)
    if first.split not in study.splits:
        console.print(f"The study scored {' and '.join(study.splits)} images, this command {first.split} images.")
    for fit in study.lines:
        console.print(f"  {fit.describe_error()}", highlight=False)
    if first.dataset in study.datasets:
        message = f"Warning: {first.dataset} is part of the study, with measured accuracies of distilled sets"
        console.print(message, style="yellow", highlight=False)
    warnings: dict[tuple[int, str], list[str]] = {}
    for row in rows:
        if row.outside:
            warnings.setdefault((row.ipc, row.outside), []).append(row.method)
    for (ipc, outside), methods in warnings.items():
        message = f"Warning: ipc {ipc} is outside of the range of the study for {', '.join(methods)}: {outside}"
        console.print(message, style="yellow", highlight=False)
