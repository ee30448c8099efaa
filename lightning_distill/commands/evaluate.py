"""``lightning-distill evaluate``: score a set file on real data, beside its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import progress_bar, start_task
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import evaluate as library
from lightning_distill.evaluation.evaluate import EvaluationResults
from lightning_distill.evaluation.labels import file_stem
from lightning_distill.evaluation.metrics.intervals import small_split_warning
from lightning_distill.evaluation.metrics.relative import RelativeScores
from lightning_distill.evaluation.result import EvaluationResult
from lightning_distill.evaluation.result_table import ResultRow, architecture_table, rich_table
from lightning_distill.sets.storage import check_file_writable, check_writable
from lightning_distill.utils.csv_rows import append_csv, read_csv


def evaluate(
    synthetic_set: str | None = None,
    data: ArrayDataModule | None = None,
    *,
    test_data: ArrayDataModule | None = None,
    out: str | None = None,
    predictions: str | None = None,
    **options: Any,
) -> EvaluationResults:
    """Score a set file and its baselines with new students on real data.

    Args:
        synthetic_set: Path of ``set.safetensors`` or of its folder (``--set``). Without a set, ``--ipc`` gives the size
            of the baselines.
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        test_data: Data of another site that score the students. The baselines are still taken from ``data``. Without
            ``data``, the test images alone score the set.
        out: CSV file that the rows are appended to, each as soon as it is measured.
        predictions: Folder for the students' predictions, one file for each candidate, read by ``report`` and
            ``compare``.
        **options: Options of `lightning_distill.evaluate`.

    Returns:
        Rows of all candidates.

    Raises:
        ValueError: An option is invalid, the set does not fit the data, or the CSV has other columns.
        OSError: The folder of ``out`` or ``predictions`` cannot be written.
    """
    if predictions is not None:
        check_writable(predictions)
    if out is not None:
        check_file_writable(out)
        read_csv(Path(out), ResultRow)

    def save(result: EvaluationResult, rows: Sequence[ResultRow]) -> None:
        if out is not None:
            append_csv(Path(out), rows)
        if predictions is not None:
            soft = result.candidate.labels == "soft" and options.get("labels") == "both"
            result.predictions.write(Path(predictions) / f"{file_stem(result.candidate.name, soft=soft)}.safetensors")

    with progress_bar() as bar:
        results = library.evaluate(
            synthetic_set, data, test_data=test_data, on_start=partial(start_task, bar), on_result=save, **options
        )
    print_results(results, plain_console())
    return results


def print_results(results: EvaluationResults, console: Console) -> None:
    """Print the table of scores, the relative scores of the set, and the accuracy's uncertainty on this split."""
    last = results.results[-1]
    split, evaluator = last.predictions.split, last.candidate.evaluator
    row = results[-1]
    title = f"{row.dataset} ({row.source}), {split} split, {evaluator.protocol.name} protocol, percent"
    console.print(rich_table(results, title))
    if len(evaluator.architectures) > 1:
        console.print(architecture_table(results, "accuracy by network; drop: mean of the others against the first"))
    distilled = [result.candidate for result in results.results if result.candidate.distilled]
    for candidate in distilled:
        row = next(
            row for row in reversed(results) if (row.trained_on, row.labels) == (candidate.name, candidate.labels)
        )
        if len(distilled) > 1:
            console.print(f"{candidate.name}, {candidate.labels} labels:", highlight=False)
        relative = RelativeScores(**{name: getattr(row, name) for name in RelativeScores().to_dict()})
        for name, text in relative.table_rows():
            console.print(f"  {name}: {text}", highlight=False)
    estimate = last.intervals["acc"]
    message = small_split_warning(estimate.n, last.scores.mean("acc"), split, over=estimate.unit)
    if message is not None:
        console.print(message, highlight=False)
