"""Result rows: one CSV or table line per evaluated candidate."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from rich.table import Table

from lightning_distill._version import __version__
from lightning_distill.evaluation.labels import display_name
from lightning_distill.evaluation.metrics.registry import METRICS
from lightning_distill.evaluation.metrics.relative import RelativeScores
from lightning_distill.evaluation.result import EvaluationResult
from lightning_distill.spec import DataSpec
from lightning_distill.utils.hardware import machine_description

NAN = math.nan


@dataclass(frozen=True)
class ResultRow:
    """Scores of one candidate with their provenance: one line of a CSV.

    The score columns follow `registry.METRICS`. For each metric: ``<name>`` is the mean over students as a fraction,
    ``<name>_std`` the standard deviation over students, ``<name>_scaled`` the value after temperature scaling on val,
    ``<name>_ci95_low`` and ``<name>_ci95_high`` the 95 % bootstrap interval over test images or groups.
    ``acc_ci95_half_width`` is half the t-interval over students. Values that were not measured are NaN.

    Score columns are attributes, too: ``row.acc``, ``row.auroc_std``, ``row.acc_gain_over_random``.

    Args:
        dataset: Name of the data.
        source: Origin of the data files.
        trained_on: Key of a baseline (`labels.BaselineName`), or name of the method that made the set.
        ipc: Images per class, ``a/b/...`` for different counts, or ``all``.
        images: Number of training images.
        split: Split that was scored.
        network: Network of the students.
        protocol: Training protocol of the students.
        epochs: Training epochs.
        students: Number of students.
        seeds: First and last seed.
        scores: Values of the score columns by name.
        resampled: Unit of the bootstrap, ``images`` or ``groups``.
        worst_class: Class with the lowest recall.
        diverged: Number of diverged students.
        relative: Scores relative to baselines.
        seconds: Seconds of training and scoring.
        machine: Description of the machine.
        precision: Precision of the forward pass.
        torch: Version of torch.
        lightning_distill: Version of this package.
        date: Date of the measurement.
        command: Command that reproduces the row.
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
    scores: Mapping[str, float]
    resampled: str
    worst_class: str
    diverged: int
    relative: RelativeScores
    seconds: float
    machine: str
    precision: str
    torch: str
    lightning_distill: str
    date: str
    command: str

    def __getattr__(self, name: str) -> float:
        """Return a score column."""
        for values in (self.__dict__.get("scores", {}), vars(self.__dict__.get("relative", RelativeScores()))):
            if name in values:
                return float(values[name])
        raise AttributeError(f"a result row has no column {name!r}")

    def to_dict(self) -> dict[str, str | int | float]:
        """Return the cells of a CSV line by column name."""
        cells: dict[str, str | int | float] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "relative":
                cells |= {name: round(number, 5) for name, number in value.to_dict().items()}
            elif field.name == "scores":
                cells |= value
            else:
                cells[field.name] = value
        return cells


def score_columns() -> list[str]:
    """List the score columns of a row in order, from the metric registry."""
    names: list[str] = []
    for name, metric in METRICS.items():
        names += [name, f"{name}_std"]
        names += ["acc_ci95_half_width"] if name == "acc" else []
        names += [f"{name}_ci95_low", f"{name}_ci95_high"] if metric.interval else []
        names += [f"{name}_scaled", f"{name}_scaled_std"] if metric.scaled else []
    return [*names, "temperature", "temperature_std"]


def make_rows(
    result: EvaluationResult, relative: RelativeScores, spec: DataSpec, split: str, bf16: bool, command: str
) -> list[ResultRow]:
    """Build the rows of an evaluated candidate: one for each of several architectures, then one for all.

    Args:
        result: Scores, predictions and intervals of the candidate.
        relative: Scores relative to the baselines, in the row for all architectures.
        spec: Specification of the data that was scored on.
        split: Split that was scored.
        bf16: Whether the forward pass ran in bfloat16.
        command: Command that reproduces the rows.
    """
    names = result.candidate.evaluator.architectures
    rows = [
        make_row(result.for_architecture(name), RelativeScores(), spec, split, bf16, command, name)
        for name in (names if len(names) > 1 else [])
    ]
    return [*rows, make_row(result, relative, spec, split, bf16, command)]


def make_row(
    result: EvaluationResult,
    relative: RelativeScores,
    spec: DataSpec,
    split: str,
    bf16: bool,
    command: str,
    network: str | None = None,
) -> ResultRow:
    """Build the row of an evaluated candidate.

    Args:
        result: Scores, predictions and intervals of the candidate.
        relative: Scores relative to the baselines.
        spec: Specification of the data that was scored on.
        split: Split that was scored.
        bf16: Whether the forward pass ran in bfloat16.
        command: Command that reproduces the row.
        network: Network of the students, if the result holds only some networks of the evaluator.
    """
    counts, evaluator, scores = result.candidate.counts, result.candidate.evaluator, result.scores
    ipc = "all" if counts is None else str(counts[0]) if len(set(counts)) == 1 else "/".join(map(str, counts))
    numbers = dict.fromkeys(score_columns(), NAN)
    for name in scores.students[0]:
        if name in numbers:
            numbers[name], numbers[f"{name}_std"] = scores.mean(name), scores.std(name)
    numbers["acc_ci95_half_width"] = scores.half_interval("acc")
    for name, interval in result.intervals.items():
        numbers |= {f"{name}_ci95_low": interval.low, f"{name}_ci95_high": interval.high}
    return ResultRow(
        dataset=spec.name,
        source=spec.source,
        trained_on=result.candidate.name,
        ipc=ipc,
        images=result.images,
        split=split,
        network=network or "+".join(evaluator.architectures),
        protocol=evaluator.protocol.name,
        epochs=evaluator.protocol.epochs + 1,
        students=len(scores.students),
        seeds=f"{evaluator.seeds[0]}-{evaluator.seeds[-1]}",
        scores={name: round(value, 5) for name, value in numbers.items()},
        resampled=result.intervals["acc"].unit,
        worst_class=scores.worst_class or "",
        diverged=len(scores.diverged),
        relative=relative,
        seconds=round(scores.seconds, 1),
        machine=machine_description(),
        precision="bf16-mixed" if bf16 else "32-true",
        torch=torch.__version__,
        lightning_distill=__version__,
        date=datetime.date.today().isoformat(),
        command=command,
    )


def rich_table(rows: Sequence[ResultRow], title: str) -> Table:
    """Format rows in percent: mean ± std over students, and the interval over images."""
    table = Table(title=title, caption="mean ± std over students; in brackets 95 % over " + rows[0].resampled)
    several = len({row.network for row in rows}) > 1
    columns = ("trained on", *(("network",) if several else ()), "images", "accuracy", "balanced accuracy", "AUROC")
    for column in (*columns, "worst class"):
        table.add_column(column, justify="left" if column in ("trained on", "network") else "right")
    for row in rows:
        table.add_row(
            display_name(row.trained_on),
            *((row.network,) if several else ()),
            f"{row.images:,}",
            percent(row.acc, row.acc_std, row.acc_ci95_low, row.acc_ci95_high),
            percent(row.balanced_acc, row.balanced_acc_std),
            percent(row.auroc, row.auroc_std),
            f"{percent(row.worst_recall, NAN)} {row.worst_class}",
        )
    return table


def architecture_table(rows: Sequence[ResultRow], title: str) -> Table:
    """Format accuracy by network: mean and worst of the other networks, and the drop from the first."""
    table = Table(title=title)
    names = list(dict.fromkeys(row.network for row in rows if "+" not in row.network))
    for column in ("trained on", *names, "mean of the others", "worst", "drop"):
        table.add_column(column, justify="left" if column == "trained on" else "right")
    for candidate in dict.fromkeys(row.trained_on for row in rows):
        by_network = {row.network: row for row in rows if row.trained_on == candidate and row.network in names}
        others = {name: by_network[name].acc for name in names[1:]}
        mean, worst = sum(others.values()) / len(others), min(others, key=others.__getitem__)
        table.add_row(
            display_name(candidate),
            *(percent(by_network[name].acc, by_network[name].acc_std) for name in names),
            percent(mean, NAN),
            f"{percent(others[worst], NAN)} {worst}",
            f"{100 * (by_network[names[0]].acc - mean):+.1f}",
        )
    return table


def percent(mean: float, std: float, low: float = NAN, high: float = NAN) -> str:
    """Format ``84.3 ± 1.2 (81.0 to 87.1)``, without the parts that are NaN."""
    spread = "" if std != std else f" ± {100 * std:.1f}"
    return f"{100 * mean:.1f}{spread}" + ("" if low != low else f" ({100 * low:.1f} to {100 * high:.1f})")
