"""Results as rows: one CSV line or table line for each thing measured, never a bare number."""

from __future__ import annotations

import csv
import datetime
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from rich.table import Table

from lightning_distill import __version__
from lightning_distill.evaluation.exam import Exam
from lightning_distill.evaluation.scores import Scores
from lightning_distill.spec import DataSpec


@dataclass(frozen=True)
class Row:
    """One set, scored by several students. Scores are fractions; ``acc_ci95`` is half the width of the interval."""

    dataset: str
    source: str
    trained_on: str
    ipc: str
    images: int
    split: str
    network: str
    protocol: str
    epochs: int
    students: int
    seeds: str
    acc: float
    acc_std: float
    acc_ci95: float
    balanced_acc: float
    balanced_acc_std: float
    auroc: float
    auroc_std: float
    seconds: float
    machine: str
    precision: str
    torch: str
    lightning_distill: str
    date: str
    command: str


def make_row(
    trained_on: str,
    counts: Sequence[int] | None,
    images: int,
    spec: DataSpec,
    split: str,
    exam: Exam,
    scores: Scores,
    bf16: bool,
    command: str,
) -> Row:
    """Fill a row from what was measured and where.

    Args:
        trained_on: method or baseline.
        counts: images of each class; ``None`` for the whole training set.
        images: their number.
        spec: of the data.
        split: the real images that were scored on.
        exam: which students.
        scores: theirs.
        bf16: precision of the forward.
        command: what a reader types to get this row again.
    """
    ipc = "all" if counts is None else str(counts[0]) if len(set(counts)) == 1 else "/".join(map(str, counts))
    rounded = {
        "acc": scores.mean("acc"),
        "acc_std": scores.std("acc"),
        "acc_ci95": scores.half_interval("acc"),
        "balanced_acc": scores.mean("balanced_acc"),
        "balanced_acc_std": scores.std("balanced_acc"),
        "auroc": scores.mean("auroc"),
        "auroc_std": scores.std("auroc"),
    }
    return Row(
        dataset=spec.name,
        source=spec.source,
        trained_on=trained_on,
        ipc=ipc,
        images=images,
        split=split,
        network="+".join(exam.architectures),
        protocol=exam.protocol.name,
        epochs=exam.protocol.epochs + 1,
        students=len(scores.students),
        seeds=f"{exam.seeds[0]}-{exam.seeds[-1]}",
        **{name: round(value, 5) for name, value in rounded.items()},
        seconds=round(scores.seconds, 1),
        machine=machine(),
        precision="bf16-mixed" if bf16 else "32-true",
        torch=torch.__version__,
        lightning_distill=__version__,
        date=datetime.date.today().isoformat(),
        command=command,
    )


def append_csv(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a CSV, which is written anew beside the old one and renamed: a crash loses nothing.

    Raises:
        ValueError: the file has other columns.
    """
    names = [field.name for field in fields(Row)]
    old: list[dict[str, str]] = []
    if path.is_file():
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            old = list(reader)
            if reader.fieldnames != names:
                found = ", ".join(reader.fieldnames or [])
                raise ValueError(f"{path.name} has other columns ({found}); use a new file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*old, *(asdict(row) for row in rows)])
    os.replace(temporary, path)


def rich_table(rows: Sequence[Row], title: str) -> Table:
    """The rows as people read them, in percent."""
    table = Table(title=title)
    for column in ("trained on", "images", "accuracy", "balanced accuracy", "AUROC", "students"):
        table.add_column(column, justify="left" if column == "trained on" else "right")
    for row in rows:
        table.add_row(
            row.trained_on,
            f"{row.images:,}",
            percent(row.acc, row.acc_std),
            percent(row.balanced_acc, row.balanced_acc_std),
            percent(row.auroc, row.auroc_std),
            str(row.students),
        )
    return table


def percent(mean: float, std: float) -> str:
    """``84.3 ± 1.2``; without a spread where there is one student only."""
    return f"{100 * mean:.1f}" if std != std else f"{100 * mean:.1f} ± {100 * std:.1f}"


def machine() -> str:
    """Processor or GPU and the number of threads: what a timing depends on, and nothing that names a host."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{torch.get_num_threads()} threads, {model}"
