"""Scores of resampled images: a bootstrap's draws, and each metric as a function of how often an image counts."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from lightning_distill.evaluation.metrics.classification import class_probabilities, compute_metrics
from lightning_distill.spec import DataSpec

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
#: From how often each of R resamples holds each of N images, ``(R, N)``, to the score of each, ``(R,)``.
Statistic = Callable[[Floats], Floats]
#: Image counts held in memory at once: 8 MB of them, which a cache can hold in part.
AT_ONCE = 1_000_000
#: Metrics of which 1000 resamples cost little, beside AUROC: means over images, means over classes.
OF_IMAGES, OF_CLASSES = ("acc", "mae", "brier", "nll"), ("balanced_acc", "worst_recall", "macro_f1")


def is_fast(metric: str) -> int:
    """How many resamples a metric is quick enough for."""
    return 1000 if metric in (*OF_IMAGES, *OF_CLASSES) or metric.startswith("auroc") else 200


def bootstrap(score: Statistic, units: Rows, resamples: int = 1000, seed: int = 0) -> Floats:
    """Scores ``(R,)`` of resamples of whole units (images, or groups of them), by `scipy.stats.bootstrap`.

    What it resamples are the numbers of the units; how often each is drawn gives the images their counts.

    Args:
        score: of counts ``(R, N)``.
        units: ``(N,)`` int64, the unit of each image, 0 to U - 1.
        resamples: R.
        seed: of the draws.

    Raises:
        ValueError: fewer than two units, or no resamples.
    """
    count = int(units.max(initial=-1)) + 1
    if count < 2:
        raise ValueError(f"{count} images or groups of images; an interval over them needs at least 2")
    if resamples < 1:
        raise ValueError(f"resamples={resamples}; the bootstrap needs at least 1, an interval 1000")

    def counted(drawn: Rows, axis: int = -1) -> Floats:
        own = drawn + count * np.arange(len(drawn))[:, None]  # (R, U), every resample its own range of numbers
        held = np.bincount(own.ravel(), minlength=count * len(drawn)).reshape(len(drawn), count)
        return score(held[:, units].astype(np.float64))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of NaN among the scores: `_estimate` counts them
        result = stats.bootstrap(
            (np.arange(count),),
            counted,
            n_resamples=resamples,
            batch=max(1, AT_ONCE // len(units)),
            vectorized=True,
            method="percentile",
            random_state=np.random.default_rng(seed),
        )
    return np.asarray(result.bootstrap_distribution, np.float64)


def weighted_statistic(metric: str, logits: Tensor, targets: Tensor, spec: DataSpec) -> Statistic:
    """The mean over students of a metric, as a function of how often each image is counted.

    A class that a resample lacks is left out of its means, as in `compute_metrics`; a score that nothing is left for
    is NaN.

    Args:
        metric: a key of `compute_metrics`.
        logits: ``(S, N, K)`` float32.
        targets: ``(N,)`` int64, or ``(N, K)`` 0/1.
        spec: of the data.

    Raises:
        ValueError: an unknown metric, or logits that are not finite.
    """
    if not logits.isfinite().all():
        broken = [str(i) for i, own in enumerate(logits) if not own.isfinite().all()]
        raise ValueError(f"logits of student {', '.join(broken)} (from 0) are not finite; StudentMetrics mends them")
    if metric not in (known := compute_metrics(logits[0], targets, spec)):
        raise ValueError(f"unknown metric {metric!r} of {spec.task} labels; known: {', '.join(known)}")
    several, guess = spec.task == "multi-label", class_probabilities(logits, spec)  # (S, N, K)
    one_hot = (targets if several else F.one_hot(targets, spec.num_classes)).bool()  # (N, K)
    if (values := _image_statistic(metric, guess, logits, targets, one_hot, spec)) is not None:
        mean = values.double().mean(0).numpy()  # (N,)
        return lambda counts: counts @ mean / counts.sum(1)
    if metric in OF_CLASSES:
        said = guess > 0.5 if several else F.one_hot(guess.argmax(-1), spec.num_classes).bool()  # (S, N, K)
        return _class_statistic(metric, said.numpy(), one_hot.numpy(), several)
    if metric.startswith("auroc"):
        every = [1] if spec.task == "binary" else list(range(spec.num_classes))
        of = every if metric == "auroc" else [spec.class_names.index(metric.removeprefix("auroc/"))]
        return _auroc_statistic(guess[..., of].numpy(), one_hot[:, of].numpy())
    return _measured_statistic(metric, logits, targets, spec)


def _image_statistic(
    metric: str, guess: Tensor, logits: Tensor, targets: Tensor, one_hot: Tensor, spec: DataSpec
) -> Tensor | None:
    """``(S, N)`` values whose mean over images is the metric; ``None`` for a metric that is no such mean."""
    several = spec.task == "multi-label"
    if metric == "acc":
        return ((guess > 0.5) == one_hot).double().mean(-1) if several else guess.argmax(-1) == targets
    if metric == "mae":
        return (guess.argmax(-1) - targets).abs()
    if metric == "brier":
        squares = (guess.double() - one_hot.double()).square()
        return squares.mean(-1) if several or spec.num_classes == 2 else squares.sum(-1)
    if metric == "nll":
        p = logits.double()
        log = torch.where(one_hot, F.logsigmoid(p), F.logsigmoid(-p)) if several else p.log_softmax(-1) * one_hot
        return -log.mean(-1) if several else -log.sum(-1)
    return None


def _class_statistic(metric: str, predicted: Flags, true: Flags, several: bool) -> Statistic:
    """Mean over classes of recall, F1, or for several labels (sensitivity + specificity) / 2, or the worst recall.

    Of the worst class: each student's is the one that is worst on the images as they are. Were it sought anew in every
    resample, the minimum would fall with the noise, and the interval leave out the score it belongs to.

    Args:
        metric: one of ``OF_CLASSES``.
        said: ``(S, N, K)``, what students say each image is.
        true: ``(N, K)``, what it is.
        several: multi-label: a label that all images have cannot be scored either.
    """
    truth, guesses = true.astype(np.float64), predicted.astype(np.float64)

    def by_class(counts: Floats) -> Floats:
        images, total = counts @ truth, counts.sum(1)[:, None]  # (R, K), (R, 1)
        there = (images > 0) & (images < total) if several else images > 0
        values = []
        for guess in guesses:
            hits, named = counts @ (truth * guess), counts @ guess  # (R, K) each
            value = _safe_divide(2 * hits, images + named) if metric == "macro_f1" else _safe_divide(hits, images)
            if metric == "balanced_acc" and several:
                value = (value + _safe_divide(total - images - named + hits, total - images)) / 2
            values.append(np.where(there, value, np.nan))
        return np.stack(values)  # (S, R, K)

    here = by_class(np.ones((1, len(truth))))[:, 0]  # (S, K)
    lowest = np.where(np.isnan(here), np.inf, here).argmin(1)  # (S,)

    def score(counts: Floats) -> Floats:
        values = by_class(counts)
        if metric == "worst_recall":
            return np.asarray(np.take_along_axis(values, lowest[:, None, None], axis=2)[..., 0].mean(0))
        return np.asarray(_nanmean(values, 2).mean(0))

    return score


def _auroc_statistic(probabilities: NDArray[np.float32], one_hot: Flags) -> Statistic:
    """Macro one-vs-rest AUROC of ``(S, N, K)`` as Mann and Whitney count it, sorted once for all resamples.

    AUROC is the share of pairs (positive, negative) in which the positive scores higher, ties one half: for each
    positive the count of negatives below it, read off their running sum.
    """
    sides = [(np.flatnonzero(positive), np.flatnonzero(~positive)) for positive in one_hot.T]
    plans = [[_sorted_positions(scores[:, k], *side) for scores in probabilities] for k, side in enumerate(sides)]

    def score(counts: Floats) -> Floats:
        held = np.ascontiguousarray(counts.T)  # (N, R): a row is an image
        by_class = []
        for (positives, negatives), students in zip(sides, plans, strict=True):
            own = held[positives]  # (P, R)
            won = np.zeros(len(counts))
            running = np.zeros((len(negatives) + 1, len(counts)))
            for order, below, up_to in students:
                np.cumsum(held[order], axis=0, out=running[1:])
                won += (own * (running[below] + running[up_to])).sum(0) / 2
            by_class.append(_safe_divide(won / len(students), own.sum(0) * held[negatives].sum(0)))
        return _nanmean(np.stack(by_class), 0)

    return score


def _sorted_positions(scores: NDArray[np.float32], positives: Rows, negatives: Rows) -> tuple[Rows, Rows, Rows]:
    """The negatives in the order of their scores, and for each positive how many are below it, and not above it."""
    order = negatives[np.argsort(scores[negatives], kind="stable")]
    below, up_to = (np.searchsorted(scores[order], scores[positives], side) for side in ("left", "right"))
    return order, below, up_to


def _measured_statistic(metric: str, logits: Tensor, targets: Tensor, spec: DataSpec) -> Statistic:
    """Any other metric, measured anew on every resample: slow, and therefore on fewer of them."""

    def score(counts: Floats) -> Floats:
        resampled = [torch.from_numpy(np.repeat(np.arange(len(row)), row.astype(np.int64))) for row in counts]
        students = [
            [compute_metrics(own[rows], targets[rows], spec)[metric] for rows in resampled] for own in logits
        ]  # (S, R)
        return np.asarray(np.mean(students, axis=0), np.float64)

    return score


def _safe_divide(over: Floats, under: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    return np.asarray(np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0))


def _nanmean(values: Floats, axis: int) -> Floats:
    """Mean of what is not NaN; NaN where nothing is left."""
    return _safe_divide(np.nansum(values, axis=axis), (~np.isnan(values)).sum(axis))
