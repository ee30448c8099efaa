"""``lightning-distill compare``: paired comparison of two evaluated sets on the same test images."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

from rich.table import Table

from lightning_distill.commands._console import plain_console
from lightning_distill.evaluation.metrics.classification import compute_metrics
from lightning_distill.evaluation.metrics.intervals import Comparison, paired_bootstrap
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.registry import get_metric
from lightning_distill.utils.short_names import distinct_ends


def compare(
    files: list[str],
    *,
    metrics: list[str] | None = None,
    resamples: int | None = None,
    seed: int = 0,
    by_group: bool = False,
) -> dict[str, Comparison]:
    """Compare two evaluated sets on the same test images, with paired bootstrap intervals.

    ``evaluate --predictions FOLDER`` writes one predictions file for the set and one for each baseline. Both sets are
    scored on the same resampled images (or patients, where known), see `paired_bootstrap`. The intervals do not include
    the variation from retraining students or from another distillation.

    Args:
        files: Two predictions files on the same images.
        metrics: Metrics to compare, such as ``[acc, ece]``. Default: ``[acc, balanced_acc, auroc]``.
        resamples: Number of bootstrap resamples. Default: 1000, or 200 for metrics that are slow to compute.
        seed: Seed of the resampling.
        by_group: Whether to average the probabilities over the images of each group (slices of a volume, images of a
            patient) and score groups instead of images.

    Returns:
        Difference of each metric, first set minus second, with interval and p-value.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: There are not two files, the images differ, or a metric is unknown; with ``by_group`` also if groups
            are unknown or have images of different labels.
    """
    if len(files) != 2:
        raise ValueError(f"{len(files)} files; give two: compare A.safetensors B.safetensors")
    pair = [Predictions.read(file) for file in files]
    if by_group:
        pair = [predictions.by_group() for predictions in pair]
    first, second = pair
    names = metrics or ["acc", "balanced_acc", "auroc"]
    comparisons = {name: paired_bootstrap(first, second, name, resamples=resamples, seed=seed) for name in names}
    console, shown = plain_console(), distinct_names(files)
    console.print(comparison_table(comparisons, first, second, shown))
    for name, predictions in zip(shown, pair, strict=True):
        if predictions.trained_on:
            trained_on = f"{predictions.trained_on} of the {len(predictions.targets)} images"
            warning = f"Warning: {name} was trained on {trained_on}: its scores say nothing about new images"
            console.print(warning, style="yellow", highlight=False)
    return comparisons


def comparison_table(
    comparisons: dict[str, Comparison], first: Predictions, second: Predictions, names: list[str]
) -> Table:
    """Build the printed table of a comparison.

    Args:
        comparisons: Comparison of each metric.
        first: Predictions of the first set.
        second: Predictions of the second set.
        names: Display names of the two sets.
    """
    sample = next(iter(comparisons.values())).difference
    title = f"{first.spec.name} ({first.spec.source}), {first.split} split, {sample.n} {sample.unit}, percent"
    table = Table(title=title)
    for column in ("metric", *names, "difference", "95 % interval", "p", "better"):
        table.add_column(column, justify="left" if column in ("metric", "better") else "right")
    for name, comparison in comparisons.items():
        metric = get_metric(name, first.spec)
        scale, digits = (100 if metric.percent else 1), metric.decimals
        scores = [
            scale * fmean(compute_metrics(logits, of.targets, of.spec)[name] for logits in of.logits)
            for of in (first, second)
        ]
        change, low, high = (scale * getattr(comparison.difference, part) for part in ("mean", "low", "high"))
        table.add_row(
            name,
            *(f"{score:.{digits}f}" for score in scores),
            f"{change:+.{digits}f}",
            f"{low:+.{digits}f} to {high:+.{digits}f}",
            f"{comparison.p:.3f}",
            better_set(comparison, metric.higher_is_better is False, names),
        )
    return table


def better_set(comparison: Comparison, lower_is_better: bool, names: list[str]) -> str:
    """Name the better set if the interval excludes zero, otherwise ``too close``."""
    change = comparison.difference
    if math.isnan(change.low) or change.low <= 0 <= change.high:
        return "too close"
    return names[0] if (change.mean > 0) != lower_is_better else names[1]


def distinct_names(files: list[str]) -> list[str]:
    """Shorten paths to their file names, with enough parent folders to tell them apart."""
    return distinct_ends([Path(file).with_suffix("").parts for file in files])
