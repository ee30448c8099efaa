"""``lightning-distill compare``: two sets on the same test images, image by image."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean as mean

from rich.console import Console
from rich.table import Table

from lightning_distill.evaluation.metrics.classification import compute_metrics
from lightning_distill.evaluation.metrics.intervals import Comparison, paired_bootstrap
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.registry import get_metric


def compare(
    files: list[str],
    metrics: list[str] | None = None,
    resamples: int | None = None,
    seed: int = 0,
    by_group: bool = False,
) -> dict[str, Comparison]:
    """Say by how much the first of two evaluated sets is better, and whether other test images might turn it round.

    ``evaluate --predictions FOLDER`` writes what the students said of every image, a file for the set and for each
    baseline. Both are scored on the same resampled images (or whole patients, where these are known), so that images
    which are hard for both cancel: `uncertainty.paired`. Other students, or another distillation, are not in it.

    Args:
        files: two files of predictions on the same images.
        metrics: default ``[acc, balanced_acc, auroc]``; any key of `evaluation.metrics.measure`, such as ``ece``.
        resamples: default 1000; 200 for metrics that are slow to measure.
        seed: of the resampling.
        by_group: score groups, not images, by the mean probability over their images: volumes that were cut into
            slices, patients whose images have one label.

    Returns:
        By metric the difference, first less second, with its interval and p.

    Raises:
        FileNotFoundError: one of the files is not there.
        ValueError: not two files, other images, or an unknown metric; with ``by_group`` also groups that are not
            known, or have images of several labels.
    """
    if len(files) != 2:
        raise ValueError(f"{len(files)} files; give two: compare A.safetensors B.safetensors")
    read = [Predictions.read(file) for file in files]
    both = first, second = [said.by_group() for said in read] if by_group else read
    names = metrics or ["acc", "balanced_acc", "auroc"]
    found = {name: paired_bootstrap(first, second, name, resamples=resamples, seed=seed) for name in names}
    one, two = called(files)
    drawn = found[names[0]].difference
    title = f"{first.spec.name} ({first.spec.source}), {first.split} split, {drawn.n} {drawn.unit}, percent"
    table = Table(title=title)
    for column in ("metric", one, two, "difference", "95 % interval", "p", "better"):
        table.add_column(column, justify="left" if column in ("metric", "better") else "right")
    for name, comparison in found.items():
        spec = get_metric(name, first.spec)
        unit, digits = (100 if spec.percent else 1), max(1, spec.decimals)
        scores = [
            unit * mean(compute_metrics(of, said.targets, said.spec)[name] for of in said.logits) for said in both
        ]
        change, low, high = (unit * getattr(comparison.difference, part) for part in ("mean", "low", "high"))
        table.add_row(
            name,
            *(f"{score:.{digits}f}" for score in scores),
            f"{change:+.{digits}f}",
            f"{low:+.{digits}f} to {high:+.{digits}f}",
            f"{comparison.p:.3f}",
            verdict(comparison, spec.higher_is_better is False, one, two),
        )
    Console().print(table)
    return found


def verdict(comparison: Comparison, lower_is_better: bool, one: str, two: str) -> str:
    """Which is better, where the interval leaves zero out."""
    change = comparison.difference
    if math.isnan(change.low) or change.low <= 0 <= change.high:
        return "too close"
    return one if (change.mean > 0) != lower_is_better else two


def called(files: list[str]) -> list[str]:
    """Names for two files: their own where they differ, else with as many of their folders as tell them apart."""
    parts = [Path(file).with_suffix("").parts for file in files]
    length = next((n for n in range(1, max(map(len, parts)) + 1) if parts[0][-n:] != parts[1][-n:]), 1)
    return ["/".join(part[-length:]) for part in parts]
