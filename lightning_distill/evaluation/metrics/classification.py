"""Scores of one student on real data, through torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional import mean_absolute_error
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_calibration_error,
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_calibration_error,
    multiclass_cohen_kappa,
    multiclass_stat_scores,
    multilabel_auroc,
    multilabel_average_precision,
    multilabel_stat_scores,
)
from torchmetrics.utilities import dim_zero_cat

from lightning_distill.spec import DataSpec

BINS = 15


def compute_metrics(logits: Tensor, targets: Tensor, spec: DataSpec) -> dict[str, float]:
    """All scores of one student, as fractions. Which there are depends on the spec alone, never on the targets.

    Every task: ``acc``, ``balanced_acc``, ``auroc``, ``worst_recall``, ``macro_f1`` and the three of
    `calibration_scores`. Ordinal: also ``kappa`` (quadratic weights) and ``mae`` (classes between the most probable
    and the true one). Multi-label: also ``map`` (mean average precision) and ``auroc/<label name>``.

    ``acc`` and ``auroc`` are MedMNIST's ACC and AUC: the most probable class and the mean of one-vs-rest AUROCs; of a
    binary task the AUROC of the second class' probability; of a multi-label one the mean of per-label accuracies, where
    a probability above one half says yes, and the mean of per-label AUROCs. ``balanced_acc`` of a multi-label task is
    the mean over labels of (sensitivity + specificity) / 2.

    `absent` classes are left out of every mean over classes; what is then left without a value is NaN. An AUROC below
    one half stays there.

    Args:
        logits: ``(N, K)``, finite.
        targets: ``(N,)`` int64, or ``(N, K)`` 0/1 for multi-label.
        spec: task and class names.

    Raises:
        ValueError: shapes that do not belong together, no images, targets beyond the classes, logits not finite.

    Reference:
        Yang et al.: MedMNIST v2, arXiv 2110.14795, and the evaluator of its package.
    """
    _check(logits, targets, spec)
    logits, targets = logits.float(), targets.long()
    several = spec.task == "multi-label"
    guess = class_probabilities(logits, spec)
    there = _present(targets, spec)  # (K,)
    tp, fp, tn, fn, _ = _confusion_counts(guess, targets, spec)  # (K,) each
    recall = tp / (tp + fn)
    areas = _class_aurocs(guess, targets, spec)
    if several:
        acc, balanced = float(((tp + tn) / len(targets)).mean()), (recall + tn / (tn + fp)) / 2
    else:
        acc, balanced = float(multiclass_accuracy(guess, targets, spec.num_classes, average="micro")), recall
    scores = {
        "acc": acc,
        "balanced_acc": float(balanced[there].mean()),
        "auroc": float(areas.nanmean()),
        "worst_recall": float(recall[there].min()) if there.any() else float("nan"),
        "macro_f1": float((2 * tp / (2 * tp + fp + fn))[there].mean()),
        **calibration_scores(logits, targets, spec),
    }
    if spec.task == "ordinal":
        named = guess.argmax(1)
        scores["kappa"] = float(multiclass_cohen_kappa(named, targets, spec.num_classes, weights="quadratic"))
        scores["mae"] = float(mean_absolute_error(named.double(), targets.double()))
    if several:
        with _without_warnings():
            precision = multilabel_average_precision(guess, targets, spec.num_classes, None, validate_args=False)
        scores["map"] = float(precision.double()[there].mean())
        scores |= {f"auroc/{name}": float(area) for name, area in zip(spec.class_names, areas, strict=True)}
    return scores


def class_probabilities(logits: Tensor, spec: DataSpec) -> Tensor:
    """Logits ``(..., K)`` as float32 probabilities: softmax over classes, or for multi-label a sigmoid of each."""
    return logits.float().sigmoid() if spec.task == "multi-label" else logits.float().softmax(-1)


def undefined_classes(targets: Tensor, spec: DataSpec) -> list[int]:
    """Classes no score can be given of: without an image; of multi-label, labels that no image has, or that all have.

    Args:
        targets: ``(N,)``, or ``(N, K)`` for multi-label.
        spec: task and class names.
    """
    return torch.nonzero(~_present(targets, spec)).flatten().tolist()


def class_recalls(logits: Tensor, targets: Tensor, spec: DataSpec) -> dict[str, float]:
    """The share of each class' images that are recognised, by class name; without `absent` classes."""
    tp, _, _, fn, _ = _confusion_counts(class_probabilities(logits, spec), targets.long(), spec)
    there = _present(targets, spec)
    return {name: float(tp[k] / (tp[k] + fn[k])) for k, name in enumerate(spec.class_names) if there[k]}


def worst_class(logits: Tensor, targets: Tensor, spec: DataSpec) -> str:
    """The name of the class with the lowest recall, the first of several.

    Raises:
        ValueError: every class is `absent`.
    """
    values = class_recalls(logits, targets, spec)
    if not values:
        raise ValueError(f"none of the {spec.num_classes} labels is on some images and not on others; no recall exists")
    return min(values, key=values.__getitem__)


def calibration_scores(logits: Tensor, targets: Tensor, spec: DataSpec) -> dict[str, float]:
    """What a student's probabilities are worth: ``ece``, ``brier`` and ``nll``; of a perfect one all are zero.

    ``ece = sum_b n_b / N |accuracy_b - confidence_b|`` over 15 equal bins of the probability of the most probable
    class; ``brier = mean_n sum_k (p_nk - y_nk)^2``, of two classes half of that, as scikit-learn has it; ``nll`` see
    `negative_log_likelihood`. For multi-label each is that of the yes of a label, the mean over labels.

    Args:
        logits: ``(N, K)``.
        targets: ``(N,)``, or ``(N, K)`` for multi-label.
        spec: task and class names.

    Reference:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, arXiv 1706.04599.
    """
    guess, targets, classes = class_probabilities(logits, spec), targets.long(), spec.num_classes
    # torchmetrics opens a sixteenth bin for a probability of exactly one, which float32 reaches easily.
    inside = guess.clamp(max=1 - 2**-24)
    if spec.task == "multi-label":
        labels = zip(inside.T.contiguous(), targets.T, strict=True)
        errors = [binary_calibration_error(own, yes, BINS) for own, yes in labels]
        ece, brier = torch.stack(errors).mean(), (guess.double() - targets).square().mean()
    else:
        ece = multiclass_calibration_error(inside, targets, classes, BINS)
        brier = (guess.double() - F.one_hot(targets, classes)).square().sum(1).mean() / (2 if classes == 2 else 1)
    return {"ece": float(ece), "brier": float(brier), "nll": negative_log_likelihood(logits, targets, spec)}


def negative_log_likelihood(logits: Tensor, targets: Tensor, spec: DataSpec) -> float:
    """``-mean_n log p(y_n)`` in nats, computed in float64; for multi-label the mean over labels too."""
    if spec.task == "multi-label":
        return float(F.binary_cross_entropy_with_logits(logits.double(), targets.double()))
    return float(F.cross_entropy(logits.double(), targets.long()))


class StudentMetrics(Metric):
    """Keeps the logits of one student and the targets, over all batches and ranks, and scores them by `compute_metrics`.

    A student that diverged, one of whose logits is not finite, keeps its place: it counts as one that knows nothing,
    all its logits zero, hence equal probabilities, and is `diverged`.

    Args:
        spec: task and class names.
        sync: whether what all ranks have seen is counted; false where each rank has other students.
    """

    full_state_update = False
    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self, spec: DataSpec, sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.spec = spec
        self.absent: list[int] = []
        self.diverged = False
        self.add_state("logits", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add logits ``(B, K)`` and targets ``(B,)``, or ``(B, K)`` for multi-label."""
        self.logits.append(logits.detach().float())
        self.targets.append(targets.long())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Everything added, on all ranks where they are synchronised."""
        return dim_zero_cat(self.logits), dim_zero_cat(self.targets)

    def all_predictions(self) -> tuple[Tensor, Tensor]:
        """Logits ``(N, K)``, zeros of a student that diverged, and targets, on the CPU."""
        logits, targets = self.compute()
        logits = logits.reshape(-1, self.spec.num_classes).cpu()
        # torchmetrics squeezes what holds one number only.
        targets = targets.reshape(logits.shape if self.spec.task == "multi-label" else len(logits)).cpu()
        self.diverged = not bool(logits.isfinite().all())
        return (torch.zeros_like(logits) if self.diverged else logits), targets

    def scores(self) -> dict[str, float]:
        """What `compute_metrics` says of everything seen; fills ``absent`` and ``diverged``."""
        logits, targets = self.all_predictions()
        self.absent = undefined_classes(targets, self.spec)
        return compute_metrics(logits, targets, self.spec)


def _present(targets: Tensor, spec: DataSpec) -> Tensor:
    """Which classes ``(K,)`` can be scored."""
    if spec.task == "multi-label":
        return targets.bool().any(0) & ~targets.bool().all(0)
    return torch.bincount(targets.long(), minlength=spec.num_classes) > 0


def _confusion_counts(guess: Tensor, targets: Tensor, spec: DataSpec) -> tuple[Tensor, ...]:
    """True and false positives, true and false negatives, and support of each class, ``(K,)`` float64."""
    count = multilabel_stat_scores if spec.task == "multi-label" else multiclass_stat_scores
    return count(guess, targets, spec.num_classes, average=None, validate_args=False).double().unbind(1)


def _class_aurocs(guess: Tensor, targets: Tensor, spec: DataSpec) -> Tensor:
    """The AUROC of each class ``(K,)`` float64, NaN where it has none; of a binary task that of the second one."""
    there, classes = _present(targets, spec), spec.num_classes
    with _without_warnings():
        if spec.task == "multi-label":
            areas = multilabel_auroc(guess, targets, classes, average=None, validate_args=False)
        elif spec.task == "binary":
            areas = binary_auroc(guess[:, 1], targets, validate_args=False).expand(2)
        else:
            areas = multiclass_auroc(guess, targets, classes, average=None, validate_args=False)
    # A single class is not told from any other.
    defined = there if spec.task == "multi-label" or there.sum() > 1 else torch.zeros_like(there)
    return areas.double().masked_fill(~defined, torch.nan)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without torchmetrics' warnings of absent classes: they are left out, and named by their caller."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No (positive|negative) samples")
        yield


def _check(logits: Tensor, targets: Tensor, spec: DataSpec) -> None:
    several, classes = spec.task == "multi-label", spec.num_classes
    expected = (len(logits), classes) if several else (len(logits),)
    if logits.ndim != 2 or logits.shape[1] != classes or targets.shape != expected:
        wanted = f"(N, {classes}) and {f'(N, {classes})' if several else '(N,)'}"
        given = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"logits and targets of a {spec.task} task are {wanted}, got {given}")
    if not len(logits):
        raise ValueError("there are no images to score on; give at least one")
    low, high, last = int(targets.min()), int(targets.max()), 1 if several else classes - 1
    if low < 0 or high > last:
        raise ValueError(f"targets run from {low} to {high}, those of {spec.name} from 0 to {last}; check the labels")
    if not logits.isfinite().all():
        raise ValueError("logits are not finite: the student diverged; StudentMetrics counts it as knowing nothing")
