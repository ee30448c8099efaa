"""Bootstrap over images or groups of images."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from lightning_distill.evaluation.metrics.metric import Floats, StudentOutputs, WeightedScore
from lightning_distill.evaluation.metrics.registry import get_metric
from lightning_distill.spec import DataSpec

Rows = NDArray[np.int64]
#: Image weights held in memory at a time (8 MB).
CHUNK_ELEMENTS = 1_000_000


def bootstrap(score: WeightedScore, units: Rows, resamples: int = 1000, seed: int = 0) -> Floats:
    """Compute scores ``(R,)`` of resampled units (images or groups of images) with `scipy.stats.bootstrap`.

    Unit indices are resampled; the weight of an image is the number of times its unit was drawn.

    Args:
        score: Function from image weights ``(R, N)`` to scores ``(R,)``.
        units: Unit index of each image ``(N,)`` int64, 0 to U - 1.
        resamples: Number of resamples R.
        seed: Seed of the resampling.

    Raises:
        ValueError: There are fewer than two units, or no resamples.
    """
    count = int(units.max(initial=-1)) + 1
    if count < 2:
        raise ValueError(f"{count} images or groups of images; an interval needs at least 2")
    if resamples < 1:
        raise ValueError(f"resamples={resamples}; the bootstrap needs at least 1, an interval 1000")

    def counted(drawn: Rows, axis: int = -1) -> Floats:
        own = drawn + count * np.arange(len(drawn))[:, None]  # (R, U), one index range per resample
        held = np.bincount(own.ravel(), minlength=count * len(drawn)).reshape(len(drawn), count)
        return score(held[:, units].astype(np.float64))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # NaN scores: `intervals` counts them
        result = stats.bootstrap(
            (np.arange(count),),
            counted,
            n_resamples=resamples,
            batch=max(1, CHUNK_ELEMENTS // len(units)),
            vectorized=True,
            method="percentile",
            random_state=np.random.default_rng(seed),
        )
    return np.asarray(result.bootstrap_distribution, np.float64)


def weighted_statistic(metric: str, logits: Tensor, targets: Tensor, spec: DataSpec) -> WeightedScore:
    """Return the mean over students of a metric as a function of image weights.

    A class that is absent from a resample is excluded from its means, as in `compute_metrics`.

    Args:
        metric: Name of a metric in `registry.METRICS`.
        logits: Logits ``(S, N, K)`` float32.
        targets: Labels ``(N,)`` int64, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.

    Raises:
        ValueError: The metric is unknown, or logits are not finite.
    """
    if not logits.isfinite().all():
        diverged = [str(i) for i, own in enumerate(logits) if not own.isfinite().all()]
        raise ValueError(
            f"logits of student {', '.join(diverged)} (from 0) are not finite; StudentMetrics replaces them by zeros"
        )
    return get_metric(metric, spec).fn(StudentOutputs(logits, targets, spec))
