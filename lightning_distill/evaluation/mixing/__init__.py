"""Mixtures of real images and a synthetic set: samplers, training at several ratios, and the gain of each."""

from lightning_distill.evaluation.mixing.gain import paired_gain, same_steps, summarize
from lightning_distill.evaluation.mixing.measure import measure_mixtures
from lightning_distill.evaluation.mixing.rows import MixRow
from lightning_distill.evaluation.mixing.sampler import (
    balanced_rows,
    mix_real_and_synthetic,
    num_synthetic,
    real_counts,
)

__all__ = [
    "MixRow",
    "balanced_rows",
    "measure_mixtures",
    "mix_real_and_synthetic",
    "num_synthetic",
    "paired_gain",
    "real_counts",
    "same_steps",
    "summarize",
]
