"""``lightning-distill mix``: does somebody's set help a student that has real images of its own?"""

from __future__ import annotations

import datetime
import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table

from lightning_distill._version import __version__
from lightning_distill.commands._candidates import student_bar
from lightning_distill.commands.evaluate import Precision, data_options
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
    """Students of ``real`` real images and ``synthetic`` of the set. Scores are fractions; gains are paired, in acc.

    ``accs`` has every student's accuracy, in the order of their seeds; ``sha256`` the first digits of the set file's.
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
    set: str,
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
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    compile: CompileMode = "auto",
    out: str | None = None,
) -> list[MixRow]:
    """Train students on r real images with the set beside them, at several ratios, and say what the set changes.

    Ratio w stands for w images of the set for each real image: the set is repeated as a whole as often as it fits, the
    rest is a random class-balanced part of it. Every student takes the same number of steps at every ratio, has the
    same real images at every ratio and starts from the same weights. Nothing is chosen: every ratio is reported. What
    was killed goes on where it was when the same command is given again.

    Args:
        data: the user's own data; the real images are drawn from its training split.
        set: ``set.safetensors`` or its folder.
        real: numbers of real images, of all classes together: ``--real '[20,100,500]'``.
        ratio: images of the set for each real one, default ``[0, 0.1, 1, 10]``; 0, no set, is always measured.
        class_ratio: of the real images: ``balanced``, or ``natural`` as the training split has them.
        split: real images to score on.
        protocol: ``reference`` or ``quick``: as r real images alone are trained on.
        students: of each mixture; at least 2.
        network: the students', by our names or timm's.
        map_classes: the data's class for each class of the set, where names differ: ``'{"ill": "malignant"}'``.
        resize: bring the set's images to the data's size and channels.
        seed: of the first student.
        precision: of the forward.
        accelerator: where to compute.
        compile: see `functional.FunctionalNetwork`.
        out: CSV that the rows are added to, each as soon as it is measured. Rows that the same command has made there
            of the same set file are kept and not measured again.

    Returns:
        One row for each number of real images and each ratio.

    Raises:
        FileNotFoundError: there is no such set.
        ValueError: a set that does not fit the data, a negative ratio, more real images than there are.
    """
    if students < 2:
        raise ValueError(f"students={students}; an interval needs at least 2")
    if not real:
        raise ValueError("real=[]; say how many real images, such as --real '[20,100,500]'")
    ratios = sorted({0.0, *([0.1, 1.0, 10.0] if ratio is None else ratio)})
    for value in ratios:
        num_synthetic(1, value)
    if out is not None:
        check_writable(Path(out).parent)
    old = [parse_row(MixRow, cells) for cells in (read_csv(Path(out), MixRow) if out is not None else [])]
    arrays, spec, way = data.train_arrays(), data.spec, get_protocol(protocol)
    check_labels(arrays[1])
    of_class = {r: real_counts(arrays[1], r, class_ratio, spec) for r in dict.fromkeys(real)}
    given, card = read_set(set)
    given = adapt_set(given, spec, map_classes, resize)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if accelerator == "auto" else accelerator
    plan = [
        (r, w, StudentEvaluator(same_steps(way, r, r + num_synthetic(r, w)), students, [network], seed, compile))
        for r, w in product(of_class, ratios)
    ]
    options = {"class_ratio": class_ratio, "split": split, "protocol": way.name, "students": students}
    options |= {"network": network, "map_classes": map_classes, "resize": resize, "seed": seed, "precision": precision}
    command = command_line(data, set, list(of_class), ratios, options)
    about = (str(card.get("method", "set")), str(card.get("sha256", ""))[:12], len(given.labels))
    kept = {(row.real, row.ratio): row for row in old if made_by(row, command, about)}
    rows: list[MixRow] = []
    alone = Scores()
    with student_bar() as bar:
        task = bar.add_task("", total=sum(exam.epochs for _, _, exam in plan))
        for r, w, exam in plan:
            bar.update(task, description=f"{r} real images, ratio {w:g}, {students} students")
            if (row := kept.get((r, w))) is not None:
                rows.append(row)
                alone = students_of(row, exam) if w == 0 else alone
                bar.advance(task, exam.epochs)
                continue
            draw = mix_real_and_synthetic(arrays, of_class[r], given, w, spec, seed)
            batches = data.val_dataloader() if split == "val" else data.test_dataloader()
            scores = evaluate_students(
                exam, draw, batches, device, precision == "bf16-mixed", partial(bar.advance, task)
            )
            alone = scores if w == 0 else alone
            change = paired_gain(scores, alone)
            rows.append(make_row(spec, (*about, r, w), split, exam, scores, change, precision, command))
            if out is not None:
                append_csv(Path(out), rows[-1:])
    answers = [summarize(change_of(row), row.real, row.set_images, row.ratio) for row in rows if row.ratio]
    console = Console()
    if kept:
        console.print(f"{len(kept)} of {len(plan)} rows were in {out} and are kept", highlight=False)
    console.print(rich_table(rows, f"{spec.name} ({spec.source}), {split} split, {way.name} protocol, percent"))
    for line in answers:
        console.print(line, highlight=False, soft_wrap=True)
    return rows


def make_row(
    spec: DataSpec,
    about: tuple[str, str, int, int, float],
    split: str,
    exam: StudentEvaluator,
    scores: Scores,
    change: Estimate,
    precision: Precision,
    command: str,
) -> MixRow:
    """Fill a row from what was measured and where; ``about`` has the fields from ``set`` to ``ratio``."""
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
        network=exam.architectures[0],
        protocol=exam.protocol.name,
        epochs=exam.protocol.epochs + 1,
        students=len(scores.students),
        seeds=f"{exam.seeds[0]}-{exam.seeds[-1]}",
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
    """Whether this command made the row, of this set file and by this version."""
    made = (row.command, row.lightning_distill, row.set, row.sha256, row.set_images)
    return made == (command, __version__, *about)


def students_of(row: MixRow, exam: StudentEvaluator) -> Scores:
    """The accuracies of a row's students, for the gains of rows to come."""
    accs = [{"acc": float(value)} for value in row.accs.split()]
    return Scores(accs, list(exam.seeds), exam.architectures * len(accs))


def change_of(row: MixRow) -> Estimate:
    """What the set has changed, as the row has it."""
    return Estimate(row.gain, math.nan, row.gain_low, row.gain_high, 0.95, row.students, "students")


def command_line(
    data: ArrayDataModule, set: str, real: list[int], ratios: list[float], options: Mapping[str, object]
) -> str:
    """The command that makes these rows again, without any folder of this machine beyond what the user typed."""
    shown = set if not Path(set).is_absolute() else Path(set).name
    parts = ["lightning-distill", "mix", "--set", shown, *data_options("data", data)]
    parts += ["--real", json.dumps(real), "--ratio", json.dumps(ratios)]
    for name, value in options.items():
        if value is not None and value is not False:
            parts += [
                f"--{name}",
                json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value).lower(),
            ]
    return shlex.join(parts)


def rich_table(rows: list[MixRow], title: str) -> Table:
    """The rows as people read them: accuracy in percent, changes in points."""
    table = Table(title=title)
    for column in ("real images", "ratio", "of the set", "accuracy", "change", "95 % interval"):
        table.add_column(column, justify="right")
    for row in rows:
        change = (f"{100 * row.gain:+.1f}", f"{100 * row.gain_low:.1f} to {100 * row.gain_high:.1f}")
        mixture = (f"{row.real:,}", f"{row.ratio:g}", f"{row.synthetic:,}", percent(row.acc, row.acc_std))
        table.add_row(*mixture, *(change if row.ratio else ("", "")))
    return table
