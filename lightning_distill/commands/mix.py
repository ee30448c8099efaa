"""``lightning-distill mix``: measure what a set adds to a given number of real images."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table

from lightning_distill._version import __version__
from lightning_distill.commands._options import Accelerator, Precision, command_line, progress_bar, resolve_device
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import Scores, StudentEvaluator, evaluate_students, get_protocol
from lightning_distill.evaluation.metrics.intervals import Estimate
from lightning_distill.evaluation.mixing import (
    mix_real_and_synthetic,
    num_synthetic,
    paired_gain,
    real_counts,
    same_steps,
    summarize,
)
from lightning_distill.evaluation.result_table import percent
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.adapt import adapt_set
from lightning_distill.sets.coresets import Ratio, check_labels
from lightning_distill.sets.storage import check_writable, read_set
from lightning_distill.spec import DataSpec
from lightning_distill.utils.csv_rows import append_csv, parse_row, read_csv
from lightning_distill.utils.hardware import machine_description


@dataclass(frozen=True)
class MixRow:
    """Scores of students trained on ``real`` real images and ``synthetic`` images of the set, as fractions.

    ``gain`` is the paired difference in accuracy to the real images alone. ``accs`` lists the accuracy of each student
    in the order of their seeds. ``sha256`` holds the first digits of the set file's checksum.
    """

    dataset: str
    source: str
    set: str
    sha256: str
    set_images: int
    real: int
    ratio: float
    synthetic: int
    split: str
    network: str
    protocol: str
    epochs: int
    students: int
    seeds: str
    acc: float
    acc_std: float
    acc_ci95_half_width: float
    accs: str
    balanced_acc: float
    auroc: float
    gain: float
    gain_low: float
    gain_high: float
    seconds: float
    machine: str
    precision: str
    torch: str
    lightning_distill: str
    date: str
    command: str


def mix(
    data: ArrayDataModule,
    synthetic_set: str,
    *,
    real: list[int],
    ratio: list[float] | None = None,
    class_ratio: Ratio = "balanced",
    split: Literal["val", "test"] = "test",
    protocol: str = "reference",
    students: int = 5,
    network: str = "convnet",
    map_classes: dict[str, str] | None = None,
    resize: bool = False,
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
    out: str | None = None,
) -> list[MixRow]:
    """Train students on real images mixed with a set at several ratios, and measure the gain in accuracy.

    Ratio w means w images of the set for each real image. The whole set is repeated as often as it fits; the rest is a
    random class-balanced part of it. At every ratio, students take the same number of steps on the same real images
    and start from the same weights. Every ratio is reported. An interrupted command continues when it is repeated with
    the same options.

    Args:
        data: Real data. The real images are drawn from the training split.
        synthetic_set: Path of ``set.safetensors`` or of its folder (``--set``).
        real: Numbers of real images of all classes together: ``--real 20 100 500``.
        ratio: Numbers of set images for each real image. Default: ``[0, 0.1, 1, 10]``. Ratio 0 (no set) is always
            measured.
        class_ratio: Class ratio of the real images: ``balanced``, or ``natural`` for that of the training split.
        split: Real images that score the students: ``val`` or ``test``.
        protocol: Training protocol for the real images alone: ``reference``, ``quick`` or ``tiny`` (for tests).
        students: Number of students for each mixture, at least 2.
        network: Name of the students' network, of this package or of timm.
        map_classes: Class of the data for each class of the set, where names differ: ``'{"ill": "malignant"}'``.
        resize: Resize the set's images to the size and channels of the data.
        seed: Seed of the first student; the others count up from it.
        precision: Precision of the forward pass: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.
        out: CSV file that the rows are appended to, each as soon as it is measured. Rows of an earlier run of the same
            command with the same set file are kept and not measured again.

    Returns:
        One row for each number of real images and each ratio.

    Raises:
        FileNotFoundError: The set file does not exist.
        ValueError: The set does not fit the data, a ratio is negative, or there are too few real images.
    """
    command = command_line(mix, locals())
    if students < 2:
        raise ValueError(f"students={students}; an interval needs at least 2")
    if not real:
        raise ValueError("real=[]; give at least one number of real images, such as --real 20 100 500")
    ratios = sorted({0.0, *([0.1, 1.0, 10.0] if ratio is None else ratio)})
    for value in ratios:
        num_synthetic(1, value)
    if out is not None:
        check_writable(Path(out).parent)
    old = [parse_row(MixRow, cells) for cells in (read_csv(Path(out), MixRow) if out is not None else [])]
    arrays, spec, training = data.train_arrays(), data.spec, get_protocol(protocol)
    check_labels(arrays[1])
    of_class = {r: real_counts(arrays[1], r, class_ratio, spec) for r in dict.fromkeys(real)}
    synthetic, card = read_set(synthetic_set)
    synthetic = adapt_set(synthetic, spec, map_classes, resize)
    device = resolve_device(accelerator)
    plan = [
        (
            r,
            w,
            StudentEvaluator(
                same_steps(training, r, r + num_synthetic(r, w)),
                students=students,
                architectures=[network],
                seed=seed,
                compile=compile,
            ),
        )
        for r, w in product(of_class, ratios)
    ]
    about = (str(card.get("method", "set")), str(card.get("sha256", ""))[:12], len(synthetic.labels))
    kept = {(row.real, row.ratio): row for row in old if made_by(row, command, about)}
    rows: list[MixRow] = []
    alone = Scores()
    with progress_bar() as bar:
        task = bar.add_task("", total=sum(evaluator.epochs for _, _, evaluator in plan))
        for r, w, evaluator in plan:
            bar.update(task, description=f"{r} real images, ratio {w:g}, {students} students")
            if (row := kept.get((r, w))) is not None:
                rows.append(row)
                alone = students_of(row, evaluator) if w == 0 else alone
                bar.advance(task, evaluator.epochs)
                continue
            sampler = mix_real_and_synthetic(arrays, of_class[r], synthetic, w, spec, seed)
            batches = data.val_dataloader() if split == "val" else data.test_dataloader()
            scores = evaluate_students(
                evaluator,
                sampler,
                batches,
                device=device,
                bf16=precision == "bf16-mixed",
                on_epoch=partial(bar.advance, task),
            )
            alone = scores if w == 0 else alone
            change = paired_gain(scores, alone)
            rows.append(make_row(spec, (*about, r, w), split, evaluator, scores, change, precision, command))
            if out is not None:
                append_csv(Path(out), rows[-1:])
    summaries = [summarize(change_of(row), row.real, row.set_images, row.ratio) for row in rows if row.ratio]
    console = Console()
    if kept:
        console.print(f"{len(kept)} of {len(plan)} rows were already in {out} and are kept", highlight=False)
    console.print(rich_table(rows, f"{spec.name} ({spec.source}), {split} split, {training.name} protocol, percent"))
    for line in summaries:
        console.print(line, highlight=False, soft_wrap=True)
    return rows


def make_row(
    spec: DataSpec,
    about: tuple[str, str, int, int, float],
    split: str,
    evaluator: StudentEvaluator,
    scores: Scores,
    change: Estimate,
    precision: Precision,
    command: str,
) -> MixRow:
    """Return the row of one mixture.

    Args:
        spec: Specification of the real data.
        about: Values of the columns ``set``, ``sha256``, ``set_images``, ``real`` and ``ratio``.
        split: Split that scored the students.
        evaluator: Evaluator of the mixture.
        scores: Scores of the students.
        change: Paired gain in accuracy over the real images alone.
        precision: Precision of the forward pass.
        command: Command that reproduces the row.
    """
    method, sha256, set_images, real, ratio = about
    measured = {
        "acc": scores.mean("acc"),
        "acc_std": scores.std("acc"),
        "acc_ci95_half_width": scores.half_interval("acc"),
        "balanced_acc": scores.mean("balanced_acc"),
        "auroc": scores.mean("auroc"),
        "gain": change.mean,
        "gain_low": change.low,
        "gain_high": change.high,
    }
    return MixRow(
        dataset=spec.name,
        source=spec.source,
        set=method,
        sha256=sha256,
        set_images=set_images,
        real=real,
        ratio=ratio,
        synthetic=num_synthetic(real, ratio),
        split=split,
        network=evaluator.architectures[0],
        protocol=evaluator.protocol.name,
        epochs=evaluator.protocol.epochs + 1,
        students=len(scores.students),
        seeds=f"{evaluator.seeds[0]}-{evaluator.seeds[-1]}",
        accs=" ".join(f"{value:.5f}" for value in scores.values("acc")),
        **{name: round(value, 5) for name, value in measured.items()},
        seconds=round(scores.seconds, 1),
        machine=machine_description(),
        precision=precision,
        torch=torch.__version__,
        lightning_distill=__version__,
        date=datetime.date.today().isoformat(),
        command=command,
    )


def made_by(row: MixRow, command: str, about: tuple[str, str, int]) -> bool:
    """Return whether the row comes from the same command, set file and version."""
    key = (row.command, row.lightning_distill, row.set, row.sha256, row.set_images)
    return key == (command, __version__, *about)


def students_of(row: MixRow, evaluator: StudentEvaluator) -> Scores:
    """Return the accuracies of a row's students, as baseline of the following rows."""
    accs = [{"acc": float(value)} for value in row.accs.split()]
    return Scores(accs, list(evaluator.seeds), evaluator.architectures * len(accs))


def change_of(row: MixRow) -> Estimate:
    """Return the paired gain of a row."""
    return Estimate(row.gain, math.nan, row.gain_low, row.gain_high, 0.95, row.students, "students")


def rich_table(rows: list[MixRow], title: str) -> Table:
    """Return the rows as a table: accuracy in percent, gain in percentage points."""
    table = Table(title=title)
    for column in ("real images", "ratio", "of the set", "accuracy", "change", "95 % interval"):
        table.add_column(column, justify="right")
    for row in rows:
        change = (f"{100 * row.gain:+.1f}", f"{100 * row.gain_low:.1f} to {100 * row.gain_high:.1f}")
        mixture = (f"{row.real:,}", f"{row.ratio:g}", f"{row.synthetic:,}", percent(row.acc, row.acc_std))
        table.add_row(*mixture, *(change if row.ratio else ("", "")))
    return table
