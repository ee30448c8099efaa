"""Results as rows: one CSV line or table line for each thing measured, never a bare number."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.table import Table

from lightning_distill._version import __version__
from lightning_distill.evaluation.metrics.relative import RelativeScores
from lightning_distill.evaluation.result import EvaluationResult
from lightning_distill.spec import DataSpec
from lightning_distill.utils.hardware import machine_description

NAN = math.nan


@dataclass(frozen=True)
class ResultRow:
    """One set, scored by several students. Scores are fractions, means over students; NaN where not measured.

    ``*_std`` is over students, ``acc_ci95`` half the width of the t-interval of the mean over students, ``*_low`` and
    ``*_high`` the 95 % interval over test images, resampled by ``resampled``. ``*_scaled`` are after temperature
    scaling on val. What follows ``diverged`` (how many students did) is `derived.Derived`, of accuracy.
    """

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
    acc_low: float
    acc_high: float
    balanced_acc: float
    balanced_acc_std: float
    balanced_acc_low: float
    balanced_acc_high: float
    auroc: float
    auroc_std: float
    auroc_low: float
    auroc_high: float
    resampled: str
    worst_recall: float
    worst_recall_std: float
    worst_class: str
    macro_f1: float
    macro_f1_std: float
    ece: float
    ece_std: float
    ece_scaled: float
    ece_scaled_std: float
    brier: float
    brier_std: float
    brier_scaled: float
    brier_scaled_std: float
    nll: float
    nll_std: float
    nll_scaled: float
    nll_scaled_std: float
    temperature: float
    temperature_std: float
    map: float
    map_std: float
    kappa: float
    kappa_std: float
    mae: float
    mae_std: float
    diverged: int
    gap_full: float
    gain_random: float
    recovery: float
    recovery_above_chance: float
    lrs: float
    ars: float
    bytes_ratio: float
    seconds_saved: float
    break_even: float
    seconds: float
    machine: str
    precision: str
    torch: str
    lightning_distill: str
    date: str
    command: str


def make_row(
    result: EvaluationResult,
    relative: RelativeScores,
    spec: DataSpec,
    split: str,
    bf16: bool,
    command: str,
    network: str | None = None,
) -> ResultRow:
    """Fill a row from what was measured and where.

    Args:
        found: by the students.
        derived: from it and its baselines.
        spec: of the data scored on.
        split: the real images that were scored on.
        bf16: precision of the forward.
        command: what a reader types to get this row again.
        network: of the students, where they are some of an exam's.
    """
    counts, exam, scores = result.candidate.counts, result.candidate.evaluator, result.scores
    ipc = "all" if counts is None else str(counts[0]) if len(set(counts)) == 1 else "/".join(map(str, counts))
    known = scores.students[0]
    means = ("acc", "balanced_acc", "auroc", "worst_recall", "macro_f1", "ece", "ece_scaled", "brier", "brier_scaled",
             "nll", "nll_scaled", "temperature", "map", "kappa", "mae")  # fmt: skip
    numbers = {name: scores.mean(name) if name in known else NAN for name in means}
    numbers |= {f"{name}_std": scores.std(name) if name in known else NAN for name in means}
    numbers["acc_ci95"] = scores.half_interval("acc")
    for name, estimate in result.intervals.items():
        numbers |= {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return ResultRow(
        dataset=spec.name,
        source=spec.source,
        trained_on=result.candidate.name,
        ipc=ipc,
        images=result.images,
        split=split,
        network=network or "+".join(exam.architectures),
        protocol=exam.protocol.name,
        epochs=exam.protocol.epochs + 1,
        students=len(scores.students),
        seeds=f"{exam.seeds[0]}-{exam.seeds[-1]}",
        resampled=result.intervals["acc"].unit,
        worst_class=scores.worst_class or "",
        diverged=len(scores.diverged),
        **{name: round(value, 5) for name, value in (numbers | relative.to_dict()).items()},
        seconds=round(scores.seconds, 1),
        machine=machine_description(),
        precision="bf16-mixed" if bf16 else "32-true",
        torch=torch.__version__,
        lightning_distill=__version__,
        date=datetime.date.today().isoformat(),
        command=command,
    )


def rich_table(rows: Sequence[ResultRow], title: str) -> Table:
    """The rows as people read them, in percent: mean ± std over students, and the interval over images."""
    table = Table(title=title, caption="mean ± std over students; in brackets 95 % over " + rows[0].resampled)
    several = len({row.network for row in rows}) > 1
    columns = ("trained on", *(("network",) if several else ()), "images", "accuracy", "balanced accuracy", "AUROC")
    for column in (*columns, "worst class"):
        table.add_column(column, justify="left" if column in ("trained on", "network") else "right")
    for row in rows:
        table.add_row(
            row.trained_on,
            *((row.network,) if several else ()),
            f"{row.images:,}",
            percent(row.acc, row.acc_std, row.acc_low, row.acc_high),
            percent(row.balanced_acc, row.balanced_acc_std),
            percent(row.auroc, row.auroc_std),
            f"{percent(row.worst_recall, NAN)} {row.worst_class}",
        )
    return table


def architecture_table(rows: Sequence[ResultRow], title: str) -> Table:
    """How a set travels: accuracy by network, mean and worst of the others, and their drop against the first."""
    table = Table(title=title)
    names = list(dict.fromkeys(row.network for row in rows if "+" not in row.network))
    for column in ("trained on", *names, "mean of the others", "worst", "drop"):
        table.add_column(column, justify="left" if column == "trained on" else "right")
    for subject in dict.fromkeys(row.trained_on for row in rows):
        mine = {row.network: row for row in rows if row.trained_on == subject and row.network in names}
        others = {name: mine[name].acc for name in names[1:]}
        mean, worst = sum(others.values()) / len(others), min(others, key=others.__getitem__)
        table.add_row(
            subject,
            *(percent(mine[name].acc, mine[name].acc_std) for name in names),
            percent(mean, NAN),
            f"{percent(others[worst], NAN)} {worst}",
            f"{100 * (mine[names[0]].acc - mean):+.1f}",
        )
    return table


def percent(mean: float, std: float, low: float = NAN, high: float = NAN) -> str:
    """``84.3 ± 1.2 (81.0 to 87.1)``; without a spread or an interval where there is none."""
    spread = "" if std != std else f" ± {100 * std:.1f}"
    return f"{100 * mean:.1f}{spread}" + ("" if low != low else f" ({100 * low:.1f} to {100 * high:.1f})")
