"""Scores relative to random images and to the full data: gaps, recovery, bytes, seconds.

Scores are fractions. NaN stands for values that were not measured and propagates.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.evaluation.metrics.registry import METRICS, get_metric
from lightning_distill.spec import DataSpec

NAN = math.nan


def gap_full(syn: float, full: float) -> float:
    """Compute the loss against training on all real images: ``full - syn``."""
    return full - syn


def gain_random(syn: float, random: float) -> float:
    """Compute the gain over an equal number of random real images: ``syn - random``."""
    return syn - random


def recovery(syn: float, full: float) -> float:
    """Compute the fraction of the full-data score that is retained: ``syn / full``; NaN if full is zero."""
    return syn / full if full else NAN


def recovery_above_chance(syn: float, full: float, chance: float) -> float:
    """Compute the retained fraction above chance: ``(syn - chance) / (full - chance)``.

    Zero is chance, one is the full data; values below zero and above one are possible. NaN if the full data do not
    exceed chance (``full <= chance``).
    """
    return (syn - chance) / (full - chance) if full > chance else NAN


def chance(metric: str, targets: Tensor, spec: DataSpec) -> float:
    """Score of the best predictor that does not look at the image, as defined by the metric.

    Args:
        metric: Name of a metric in `registry.METRICS`.
        targets: Labels ``(N,)`` int64, or 0/1 rows ``(N, K)``, of the split that was scored.
        spec: Specification of the data.

    Raises:
        ValueError: There are no images, or the metric has no chance level.
    """
    if not len(targets):
        raise ValueError("targets has 0 images; chance is a property of the split that was scored")
    level = get_metric(metric, spec).chance
    if level is None:
        names = ", ".join(name for name, known in METRICS.items() if known.chance is not None)
        raise ValueError(f"{metric!r} of {spec.task} labels has no chance level; use one of {names}")
    return level(targets, spec)


def label_robust_score(syn: float, full: float, random: float, weight: float = 0.5) -> float:
    """Compute DD-Ranking's LRS: a number in [0, 1] from the gain over random images and the loss against full data.

    ``HLR = full - syn``, ``IOR = syn - random``, ``a = w IOR - (1 - w) HLR``, ``LRS = (e^a - e^-1) / (e - e^-1)``.
    Full .86, syn .45, random .26 give .2246. Scores are fractions; the authors' package uses percent, which leaves
    [0, 1].

    Args:
        syn: Score of the set with hard labels.
        full: Score of all real images.
        random: Score of an equal number of random real images.
        weight: Weight w of IOR.

    Raises:
        ValueError: A score or the weight is not in [0, 1].

    Reference:
        Li et al.: DD-Ranking: Rethinking the Evaluation of Dataset Distillation, arXiv 2505.13300.
    """
    _check_fractions(syn=syn, full=full, random=random, weight=weight)
    return _squash(weight * gain_random(syn, random) - (1 - weight) * gap_full(syn, full))


def augmentation_robust_score(
    syn_augmented: float, random_augmented: float, syn_plain: float, random_plain: float, weight: float = 0.5
) -> float:
    """Compute DD-Ranking's ARS: the gain over random images with and without augmentation of the students.

    ``a = g (syn_aug - rnd_aug) + (1 - g) (syn_noaug - rnd_noaug)``, ``ARS = (e^a - e^-1) / (e - e^-1)``;
    no gain gives .2689.

    Args:
        syn_augmented: Score of the set with augmentation.
        random_augmented: Score of random real images with augmentation.
        syn_plain: Score of the set without augmentation.
        random_plain: Score of random real images without augmentation.
        weight: Weight g of the gain with augmentation.

    Raises:
        ValueError: A score or the weight is not in [0, 1].

    Reference:
        Li et al.: DD-Ranking: Rethinking the Evaluation of Dataset Distillation, arXiv 2505.13300.
    """
    _check_fractions(
        syn_augmented=syn_augmented,
        random_augmented=random_augmented,
        syn_plain=syn_plain,
        random_plain=random_plain,
        weight=weight,
    )
    augmented, plain = gain_random(syn_augmented, random_augmented), gain_random(syn_plain, random_plain)
    return _squash(weight * augmented + (1 - weight) * plain)


def bytes_ratio(shipped: float, real: float) -> float:
    """Compute the size of the set file relative to the training data: ``shipped / real``.

    Args:
        shipped: Bytes of the set file including card and labels, see `bytes_of`.
        real: Bytes of the real training files, or `bytes_of_arrays` if they are unknown or hold other splits.

    Raises:
        ValueError: ``real`` is not positive.
    """
    if real <= 0:
        raise ValueError(f"real={real} bytes; give bytes_of the training files or bytes_of_arrays")
    return shipped / real


def bytes_of(path: str | os.PathLike[str]) -> int:
    """Return the bytes of a file on disk, or of all files below a folder.

    Raises:
        FileNotFoundError: The path does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no {path.name!r} in {path.parent}; give a file or a folder")
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def bytes_of_arrays(pixels: NDArray[np.generic], labels: NDArray[np.integer]) -> int:
    """Return the uncompressed bytes of the training data: pixels in their dtype plus labels.

    Labels count in the smallest sufficient integer type. Compressed files are smaller.

    Args:
        pixels: Images ``(N, C, H, W)`` of the training split.
        labels: Labels ``(N,)``, or 0/1 rows ``(N, K)``.
    """
    label = np.min_scalar_type(int(labels.max())).itemsize if labels.size else 0
    return int(pixels.nbytes) + labels.size * label


def seconds_saved(full: float, syn: float) -> float:
    """Compute the seconds saved per training: seconds on all real images minus seconds on the set."""
    return full - syn


def break_even(distillation: float, saved: float) -> float:
    """Compute the number of trainings that repay the distillation: ``distillation / saved``; inf if none is saved.

    Args:
        distillation: Seconds of the distillation, including experts.
        saved: Seconds saved per training on the same machine.
    """
    if math.isnan(distillation) or math.isnan(saved):
        return NAN
    return distillation / saved if saved > 0 else math.inf


@dataclass(frozen=True)
class RelativeScores:
    """Relative scores of one set; NaN if an input is missing.

    Args:
        gap_full: Result of `gap_full`, in the unit of the score.
        acc_gain_over_random: Result of `gain_random`, in the unit of the score.
        recovery: Result of `recovery`, a fraction.
        recovery_above_chance: Result of `recovery_above_chance`, a fraction.
        lrs: Result of `label_robust_score`.
        ars: Result of `augmentation_robust_score`.
        bytes_ratio: Size of the set file relative to the training data.
        seconds_saved: Seconds saved per training.
        break_even: Number of trainings that repay the distillation, not rounded.
    """

    gap_full: float = NAN
    acc_gain_over_random: float = NAN
    recovery: float = NAN
    recovery_above_chance: float = NAN
    lrs: float = NAN
    ars: float = NAN
    bytes_ratio: float = NAN
    seconds_saved: float = NAN
    break_even: float = NAN

    def to_dict(self) -> dict[str, float]:
        """Return the numbers by name, for CSV and JSON."""
        return asdict(self)

    def table_rows(self) -> list[tuple[str, str]]:
        """Return label and formatted text of all known values, in points, percent and seconds."""
        texts: dict[str, tuple[str, str, float]] = {
            "gap_full": ("against all real images", "{:+.1f} points", -100),
            "acc_gain_over_random": ("against random images", "{:+.1f} points", 100),
            "recovery": ("score kept", "{:.1f} %", 100),
            "recovery_above_chance": ("score kept, above chance", "{:.1f} %", 100),
            "lrs": ("label-robust score (LRS)", "{:.4f}", 1),
            "ars": ("augmentation-robust score (ARS)", "{:.4f}", 1),
            "bytes_ratio": ("bytes kept", "{:.3g} %", 100),
            "seconds_saved": ("seconds saved per training", "{:,.1f}", 1),
            "break_even": ("trainings until distilling has paid", "{:,.1f}", 1),
        }
        known = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [
            (texts[name][0], "never" if math.isinf(value) else texts[name][1].format(value * texts[name][2]))
            for name, value in known
            if not math.isnan(value)
        ]


def relative_scores(
    syn: float,
    full: float = NAN,
    random: float = NAN,
    chance: float = NAN,
    *,
    syn_plain: float = NAN,
    random_plain: float = NAN,
    shipped_bytes: float = NAN,
    real_bytes: float = NAN,
    full_seconds: float = NAN,
    syn_seconds: float = NAN,
    distillation_seconds: float = NAN,
) -> RelativeScores:
    """Compute all relative scores from mean scores, bytes and seconds. Values that were not measured stay NaN.

    Args:
        syn: Mean score of the set, a fraction.
        full: Mean score of all real images.
        random: Mean score of an equal number of random real images.
        chance: Chance level of the metric, see `chance`.
        syn_plain: Mean score of the set without augmentation; ``syn`` is then the score with augmentation.
        random_plain: Mean score of random images without augmentation.
        shipped_bytes: Bytes of the set file.
        real_bytes: Bytes of the real training data.
        full_seconds: Seconds to train one network on all real images.
        syn_seconds: Seconds to train one network on the set, on the same machine.
        distillation_seconds: Seconds of the distillation.

    Raises:
        ValueError: A score is not a fraction, or the real data have no bytes.
    """
    _check_fractions(syn=syn, full=full, random=random, chance=chance)
    saved = seconds_saved(full_seconds, syn_seconds)
    return RelativeScores(
        gap_full=gap_full(syn, full),
        acc_gain_over_random=gain_random(syn, random),
        recovery=recovery(syn, full),
        recovery_above_chance=recovery_above_chance(syn, full, chance),
        lrs=label_robust_score(syn, full, random),
        ars=augmentation_robust_score(syn, random, syn_plain, random_plain),
        bytes_ratio=bytes_ratio(shipped_bytes, real_bytes),
        seconds_saved=saved,
        break_even=break_even(distillation_seconds, saved),
    )


def _squash(a: float) -> float:
    """Map [-1, 1] to [0, 1] exponentially."""
    return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))


def _check_fractions(**scores: float) -> None:
    for name, score in scores.items():
        if not math.isnan(score) and not 0 <= score <= 1:
            raise ValueError(f"{name}={score} is not a fraction; divide percent by 100")
