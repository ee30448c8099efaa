"""Error rates of a membership attack: ROC, rates at small false positive rates with intervals, and predictive value."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from lightning_distill.utils.json_values import without_nan
from lightning_distill.utils.statistics import clopper_pearson, t_half_width

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: False positive rates at which true positive rates are reported.
LOW_FPRS = (0.01, 0.001)
#: Shares of members among the people that an attacker asks about, for the positive predictive value.
PRIORS = (0.01, 0.1)
#: Number of points of a curve that is written to a card.
CURVE_POINTS = 60


@dataclass(frozen=True)
class Rate:
    """True positive rate at a false positive rate.

    Args:
        fpr: Largest false positive rate.
        tpr: True positive rate; NaN where ``fpr`` is not resolvable.
        low: Lower bound of its 95 % interval.
        high: Upper bound of its 95 % interval.
        calibrated_fpr: False positive rate at the threshold that was chosen on other shadow sets.
        calibrated_tpr: True positive rate at that threshold.
        ppv: Positive predictive value at that threshold for each of `PRIORS`.
    """

    fpr: float
    tpr: float = math.nan
    low: float = math.nan
    high: float = math.nan
    calibrated_fpr: float = math.nan
    calibrated_tpr: float = math.nan
    ppv: tuple[float, ...] = (math.nan,) * len(PRIORS)

    @property
    def resolvable(self) -> bool:
        """Whether there are enough non-members for this false positive rate."""
        return not math.isnan(self.tpr)

    def __str__(self) -> str:
        if not self.resolvable:
            return "not resolvable"
        return f"{100 * self.tpr:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class AttackRates:
    """Error rates of an attack on one or several targets.

    Args:
        auc: Area under the ROC curve, averaged over the targets.
        auc_low: Lower bound of its 95 % interval.
        auc_high: Upper bound of its 95 % interval.
        balanced_accuracy: Largest mean of true positive rate and true negative rate over all thresholds.
        rates: True positive rates at `LOW_FPRS`.
        non_members: Number of different non-members; a false positive rate below its inverse is not resolvable.
        curve: ROC curve as pairs of false and true positive rates.
    """

    auc: float
    auc_low: float
    auc_high: float
    balanced_accuracy: float
    rates: tuple[Rate, ...]
    non_members: int
    curve: tuple[tuple[float, float], ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain data for JSON; NaN becomes ``None``."""
        values: dict[str, object] = asdict(self)
        values["curve"] = [[round(x, 5), round(y, 5)] for x, y in self.curve]
        plain: dict[str, object] = without_nan(values)
        return plain


def attack_rates(
    scores: Floats, members: Flags, units: int, calibration: tuple[Floats, Flags] | None = None
) -> AttackRates:
    """Measure an attack on several targets, with one threshold for all of them.

    An image is attacked in every target, and these trials depend on each other. The interval of a true positive rate is
    the exact one of Clopper and Pearson for as many trials as there are different units, which is wide. The interval of
    the AUC is the t-interval over pairs of targets (2k, 2k + 1), which are made from complementary halves; for a single
    target it is that of Hanley and McNeil.

    Args:
        scores: Scores ``(T, n)`` of n images in T targets; larger for members.
        members: Membership ``(T, n)``.
        units: Number of different images or patients behind the n scores of a target.
        calibration: Scores and membership of other targets that thresholds are chosen on. Default: for each target the
            other pairs of targets.

    Raises:
        ValueError: A score is not finite, or there are no members or no non-members.

    Reference:
        Clopper, Pearson, Biometrika 26, 1934; Hanley, McNeil, Radiology 143, 1982.
    """
    scores, members = np.atleast_2d(scores).astype(np.float64), np.atleast_2d(members)
    if not np.isfinite(scores).all():
        raise ValueError("an attack gave a score that is not finite")
    if members.all() or not members.any():
        raise ValueError("an attack needs members and non-members")
    aucs = np.array([roc_auc_score(member, score) for member, score in zip(members, scores, strict=True)])
    targets = len(scores)
    share = units / scores.shape[1]
    positives = max(1, round(share * (members.any(0).sum() if targets > 1 else members.sum())))
    negatives = max(1, round(share * ((~members).any(0).sum() if targets > 1 else (~members).sum())))
    half = _auc_half_width(aucs, positives, negatives)
    fpr, tpr, _ = roc_curve(members.ravel(), scores.ravel(), drop_intermediate=False)
    return AttackRates(
        auc=float(aucs.mean()),
        auc_low=max(0.0, float(aucs.mean()) - half),
        auc_high=min(1.0, float(aucs.mean()) + half),
        balanced_accuracy=float(((tpr + 1 - fpr) / 2).max()),
        rates=tuple(
            _rate(level, fpr, tpr, _calibrated(level, scores, members, calibration), positives, negatives)
            for level in LOW_FPRS
        ),
        non_members=negatives,
        curve=_thinned(fpr, tpr, 1 / negatives),
    )


def positive_predictive_value(tpr: float, fpr: float, prior: float) -> float:
    """Return the probability that an image called a member is one.

    Args:
        tpr: True positive rate.
        fpr: False positive rate.
        prior: Share of members among the images that an attacker asks about.

    Example:
        >>> round(positive_predictive_value(0.05, 0.01, prior=0.01), 3)
        0.048
    """
    called = tpr * prior + fpr * (1 - prior)
    return tpr * prior / called if called > 0 else math.nan


def threshold_at(scores: Floats, fpr: float) -> float:
    """Return the least threshold that at most a share of scores exceeds.

    Args:
        scores: Scores of non-members.
        fpr: Largest share of scores above the threshold.

    Example:
        >>> threshold_at(np.arange(100.0), 0.01)
        98.0
    """
    ordered = np.sort(np.ravel(scores))
    allowed = math.floor(fpr * len(ordered) + 1e-9)
    return float(ordered[len(ordered) - 1 - allowed]) if allowed < len(ordered) else -math.inf


def _rate(
    level: float, fpr: Floats, tpr: Floats, calibrated: tuple[float, float], positives: int, negatives: int
) -> Rate:
    if level < 1 / negatives:
        return Rate(level)
    value = float(tpr[fpr <= level + 1e-12].max())
    calibrated_fpr, calibrated_tpr = calibrated
    ppv = tuple(positive_predictive_value(calibrated_tpr, calibrated_fpr, prior) for prior in PRIORS)
    low, high = clopper_pearson(value * positives, positives)
    return Rate(level, value, low, high, calibrated_fpr, calibrated_tpr, ppv)


def _calibrated(
    level: float, scores: Floats, members: Flags, calibration: tuple[Floats, Flags] | None
) -> tuple[float, float]:
    """Return false and true positive rates at thresholds of other targets; NaN for a single pair without others."""
    if calibration is not None:
        called = scores > threshold_at(calibration[0][~calibration[1]], level)
        return float(called[~members].mean()), float(called[members].mean())
    if len(scores) < 4:
        return math.nan, math.nan
    called = np.zeros_like(members)
    for target in range(len(scores)):
        others = np.arange(len(scores)) // 2 != target // 2
        called[target] = scores[target] > threshold_at(scores[others][~members[others]], level)
    return float(called[~members].mean()), float(called[members].mean())


def _auc_half_width(aucs: Floats, positives: int, negatives: int) -> float:
    if len(aucs) >= 4 and len(aucs) % 2 == 0:
        pairs = aucs.reshape(-1, 2).mean(1)
        return t_half_width(float(pairs.std(ddof=1)), len(pairs))
    auc = float(aucs.mean())
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)
    return 1.96 * math.sqrt(max(0.0, auc * (1 - auc) + spread) / (positives * negatives))


def _thinned(fpr: Floats, tpr: Floats, least: float) -> tuple[tuple[float, float], ...]:
    """Return points of a curve at evenly spaced logarithms of the false positive rate."""
    grid = np.unique(np.concatenate([np.geomspace(max(least, 1e-6), 1, CURVE_POINTS), [0.0, 1.0]]))
    return tuple((float(x), float(tpr[fpr <= x + 1e-12].max())) for x in grid)
