"""What follows from the scores of a set, of random images and of the full data: gaps, recoveries, bytes, seconds.

Scores are fractions. NaN goes in for what was not measured, and comes out of what needs it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.evaluation.metrics.registry import METRICS, get_metric
from lightning_distill.spec import DataSpec

NAN = math.nan


def gap_full(syn: float, full: float) -> float:
    """What is lost against training on all real images: ``full - syn``."""
    return full - syn


def gain_random(syn: float, random: float) -> float:
    """What is won over as many random real images: ``syn - random``."""
    return syn - random


def recovery(syn: float, full: float) -> float:
    """The share of the full data's score that the set keeps: ``syn / full``; NaN where full is zero."""
    return syn / full if full else NAN


def recovery_above_chance(syn: float, full: float, chance: float) -> float:
    """The share kept of what the full data teach beyond guessing: ``(syn - chance) / (full - chance)``.

    Zero is chance, one is the full data; below zero and above one are possible. NaN where the full data teach nothing
    (``full <= chance``): a share of nothing has no meaning, and the sign of the quotient would mislead.
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
    """DD-Ranking's LRS: one number in [0, 1] from the gain over random images and the loss against the full data.

    ``HLR = full - syn``, ``IOR = syn - random``, ``a = w IOR - (1 - w) HLR``, ``LRS = (e^a - e^-1) / (e - e^-1)``.
    Full .86, syn .45, random .26 give .2246. Scores go in as fractions: the authors' package puts percent in, which
    takes the result out of [0, 1].

    Args:
        syn: score of students of the set, with its labels as hard labels.
        full: of students of all real images.
        random: of students of as many random real images.
        weight: w, of IOR.

    Raises:
        ValueError: a score or the weight is not in [0, 1].

    Reference:
        Li et al.: DD-Ranking: Rethinking the Evaluation of Dataset Distillation, arXiv 2505.13300.
    """
    _check_fractions(syn=syn, full=full, random=random, weight=weight)
    return _squash(weight * gain_random(syn, random) - (1 - weight) * gap_full(syn, full))


def augmentation_robust_score(
    syn_augmented: float, random_augmented: float, syn_plain: float, random_plain: float, weight: float = 0.5
) -> float:
    """DD-Ranking's ARS: the gain over random images, with students' augmentation and without it, in one number.

    ``a = g (syn_aug - rnd_aug) + (1 - g) (syn_noaug - rnd_noaug)``, ``ARS = (e^a - e^-1) / (e - e^-1)``; as good as
    random is .2689.

    Args:
        syn_augmented: score of students of the set, trained with augmentation.
        random_augmented: of students of as many random real images, trained likewise.
        syn_plain: of students of the set, trained without augmentation.
        random_plain: of students of random images, trained without.
        weight: g, of the gain with augmentation.

    Raises:
        ValueError: a score or the weight is not in [0, 1].

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
    """Bytes of the file that is sent, over bytes of the training data it stands for: ``shipped / real``.

    Bytes, not images: 32 px in float32 weigh 5.2 times what 28 px in uint8 do.

    Args:
        shipped: `bytes_of` the set file, card and labels included.
        real: `bytes_of` the real training files or, where those are unknown or hold other splits too,
            `bytes_of_arrays`.

    Raises:
        ValueError: the real data have no bytes.
    """
    if real <= 0:
        raise ValueError(f"real={real} bytes; give bytes_of the training files or bytes_of_arrays")
    return shipped / real


def bytes_of(path: str | Path) -> int:
    """Bytes of a file as it lies on disk, compressed or not; of a folder, of all files below it.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no {path.name!r} in {path.parent}; give a file or a folder")
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def bytes_of_arrays(pixels: NDArray[np.generic], labels: NDArray[np.integer]) -> int:
    """Bytes that the training data need uncompressed, for where no file tells: pixels as they came, plus labels.

    Pixels count in their own dtype (uint8: one byte each) and at their own size, never as the float32 a network sees;
    labels in the smallest integer that holds them, however wide they lie in memory. A file that compresses is smaller.

    Args:
        pixels: ``(N, C, H, W)`` of the training split.
        labels: ``(N,)``, or ``(N, K)`` 0/1.
    """
    label = np.min_scalar_type(int(labels.max())).itemsize if labels.size else 0
    return int(pixels.nbytes) + labels.size * label


def seconds_saved(full: float, syn: float) -> float:
    """Seconds saved whenever a network is trained on the set: seconds on all real images less seconds on the set."""
    return full - syn


def break_even(distillation: float, saved: float) -> float:
    """The number of trainings after which distilling has paid: ``distillation / saved``; inf where nothing is saved.

    Args:
        distillation: seconds spent on making the set, experts included.
        saved: `seconds_saved` a training, on the same machine.
    """
    if math.isnan(distillation) or math.isnan(saved):
        return NAN
    return distillation / saved if saved > 0 else math.inf


@dataclass(frozen=True)
class RelativeScores:
    """All that follows from the means of one set; NaN where an ingredient is missing.

    Args:
        gap_full: see `gap_full`; likewise the others.
        acc_gain_over_random: `gain_random`, in the unit of the score.
        recovery: a fraction.
        recovery_above_chance: a fraction.
        lrs: `label_robust_score`.
        ars: `augmentation_robust_score`.
        bytes_ratio: shipped over real.
        seconds_saved: a training.
        break_even: trainings, not rounded.
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
        """Plain numbers by name, for CSV and JSON."""
        return asdict(self)

    def table_rows(self) -> list[tuple[str, str]]:
        """Name and text of all that is known, as people read them: points, percent, seconds."""
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
    """Everything that follows from mean scores, bytes and seconds; leave out what was not measured.

    Args:
        syn: mean score of the set's students, a fraction.
        full: of students of all real images.
        random: of students of as many random real images.
        chance: `chance` of the metric.
        syn_plain: of the set's students without augmentation; ``syn`` is then taken as the score with it.
        random_plain: of random images' students without augmentation; ``random`` likewise.
        shipped_bytes: of the set file.
        real_bytes: of the real training data.
        full_seconds: to train one network on all real images.
        syn_seconds: to train one network on the set, on the same machine.
        distillation_seconds: to make the set.

    Raises:
        ValueError: a score is not a fraction, or the real data have no bytes.
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
    """[-1, 1] to [0, 1], steeper where it is good."""
    return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))


def _check_fractions(**scores: float) -> None:
    for name, score in scores.items():
        if not math.isnan(score) and not 0 <= score <= 1:
            raise ValueError(f"{name}={score} is not a fraction; divide percent by 100")
