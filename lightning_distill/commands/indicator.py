"""``lightning-distill indicator``: predict the accuracy of distilled sets before any distillation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import report_to
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.labels import LABELS
from lightning_distill.evaluation.result_table import percent
from lightning_distill.indicator import predict
from lightning_distill.indicator.predict import IndicatorResult
from lightning_distill.indicator.predictors import NEIGHBOURS
from lightning_distill.indicator.rows import IndicatorRow
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.utils.csv_rows import write_csv


def indicator(
    data: ArrayDataModule, ipc: int | list[int] = 10, *, out: str | None = None, **options: Any
) -> list[IndicatorRow]:
    """Predict the accuracy of distilled sets from random subsets and statistics of the data.

    Nothing is distilled. Each student is trained on its own random subset. The mean accuracy enters a linear fit to
    earlier distillations (``benchmarks/indicator.py``), and its error on left-out data sets is reported.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        ipc: Images per class, one number or several: ``--ipc 1 10 50``.
        out: CSV file that the rows are written to.
        **options: Options of `indicator.predict.predict_accuracies`.

    Returns:
        One row for each ipc and each method of the study.

    Raises:
        ValueError: An option is invalid, a class has fewer images than ``ipc``, or the data are multi-label.
        OSError: The folder of ``out`` cannot be written.
    """
    if out is not None:
        check_file_writable(out)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns) as bar:
        result = predict.predict_accuracies(data, ipc, on_progress=report_to(bar), **options)
    print_result(result, plain_console())
    if out is not None:
        write_csv(Path(out), [column.name for column in fields(IndicatorRow)], [asdict(row) for row in result.rows])
    return result.rows


def print_result(result: IndicatorResult, console: Console) -> None:
    """Print the measurements, the predictions, their error, and warnings of values outside of the study."""
    for ipc in dict.fromkeys(row.ipc for row in result.rows):
        console.print(verdict([row for row in result.rows if row.ipc == ipc]), style="bold", highlight=False)
    console.print(measurements_table(result))
    console.print(predictions_table(result.rows))
    print_notes(result, console)
    for warning in range_warnings(result.rows):
        console.print(warning, style="yellow", highlight=False)


def verdict(rows: Sequence[IndicatorRow]) -> str:
    """Return the answer for one ipc in one sentence: is a distilled set expected to beat random images?

    Args:
        rows: Rows of one ipc, one for each method.
    """
    best = max(rows, key=lambda row: row.predicted_acc)
    random = f"random images reach {100 * best.random_acc:.0f} %"
    predicted = f"{best.method} is predicted at {100 * best.predicted_acc:.0f} % "
    predicted += f"({100 * best.low:.0f} to {100 * best.high:.0f})"
    at = f"{best.dataset}, {best.ipc} per class"
    if all(row.outside for row in rows):
        return f"{at}: no prediction, the data are outside of the study; {random}"
    if best.low > best.random_acc:
        return f"{at}: a distilled set is expected to beat random images: {predicted}, {random}"
    if best.high < best.random_acc:
        return f"{at}: no distilled set is expected to beat random images: {predicted}, {random}"
    return f"{at}: too close to tell: {predicted}, {random}"


def measurements_table(result: IndicatorResult) -> Table:
    """Return the statistics of the data as a table, accuracies in percent."""
    first, stats = result.rows[0], result.stats
    title = f"{first.dataset} ({first.source}), {first.split} split, {first.protocol} protocol, percent"
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
    return measured


def predictions_table(rows: Sequence[IndicatorRow]) -> Table:
    """Return the accuracy of random subsets and the predictions as a table, in percent."""
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
    return table


def print_notes(result: IndicatorResult, console: Console) -> None:
    """Print the meaning of the columns, the description of the study, and the error of each method."""
    study, first = result.study, result.rows[0]
    console.print(
        "random: random subsets of that size; error: on left-out data sets, percentage points", highlight=False
    )
    if any(row.outside for row in result.rows):
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


def range_warnings(rows: Sequence[IndicatorRow]) -> list[str]:
    """Return one warning for each ipc and each list of values outside of the study, with its methods."""
    warnings: dict[tuple[int, str], list[str]] = {}
    for row in rows:
        if row.outside:
            warnings.setdefault((row.ipc, row.outside), []).append(row.method)
    return [
        f"Warning: ipc {ipc} is outside of the range of the study for {', '.join(methods)}: {outside}"
        for (ipc, outside), methods in warnings.items()
    ]
