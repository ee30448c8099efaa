"""Guard of an export: compare a set with its start and with selected real images on the validation split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_distill.evaluation.metrics.metric import StudentOutputs
from lightning_distill.evaluation.metrics.paired_error import paired_standard_error
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.registry import get_metric
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.json_values import without_nan
from lightning_distill.utils.progress import ProgressCallback

Batches = Iterable[tuple[Tensor, Tensor]]
#: Name of the initial set among the yardsticks.
START = "start"
WAYS_OUT = "more steps, another method, or `lightning-distill coreset` if real images may be shared"


@dataclass(frozen=True)
class GainCheck:
    """Scores of a set and of its yardsticks, by the same students on the same validation images.

    Args:
        metric: Name of the metric in `registry.METRICS`.
        score: Mean score over students of the set.
        yardsticks: Mean score of each yardstick: ``start``, then the coreset methods.
        gain: Score of the set minus that of its start; positive is better, also for metrics to be minimised.
        standard_error: Standard error of the gain over images and students, see `paired_standard_error`.
        best_pick: Name of the best coreset; ``None`` without one.
        gain_over_pick: Score of the set minus that of the best coreset, signed as ``gain``; NaN without one.
        pick_standard_error: Standard error of ``gain_over_pick``; NaN without a coreset.
        counts: Stored images of each class of the set.
        init: Initialisation of the images: ``noise``, or the selection of the real images it began as.
        images: Number of validation images.
        groups: Number of patients or lesions among them; ``None`` where unknown.
        protocol: Name of the students' protocol.
        architectures: Network of each student.
        seeds: Seed of each student.
        spec: Task and class names.

    Example:
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(0.0,), std=(1.0,))
        >>> check = GainCheck("acc", 0.70, {"start": 0.69}, 0.01, 0.02, None, math.nan, math.nan, (10, 10), "real", 200,
        ...     None, "quick", ("convnet",), (3,), spec)
        >>> check.beats_start, check.mark
        (False, 'no better than 10 picked images a class')
    """

    metric: str
    score: float
    yardsticks: Mapping[str, float]
    gain: float
    standard_error: float
    best_pick: str | None
    gain_over_pick: float
    pick_standard_error: float
    counts: Sequence[int]
    init: str
    images: int
    groups: int | None
    protocol: str
    architectures: Sequence[str]
    seeds: Sequence[int]
    spec: DataSpec

    @property
    def beats_start(self) -> bool:
        """Whether the gain over the start exceeds one standard error; False where it is undefined."""
        return self.gain > self.standard_error

    @property
    def beats_pick(self) -> bool | None:
        """Whether the gain over the best coreset exceeds one standard error; ``None`` without a coreset."""
        return None if self.best_pick is None else self.gain_over_pick > self.pick_standard_error

    @property
    def mark(self) -> str | None:
        """Mark of a set that does not beat its start; ``None`` for one that does."""
        if self.beats_start:
            return None
        if self.init == "noise":
            return "no better than its start, which was noise"
        return f"no better than {self._picked_images()}"

    def sentence(self) -> str:
        """Describe the result in one line: the mark with the ways out, or the gain."""
        metric = get_metric(self.metric, self.spec)
        scores = [f"{name} {metric.text(score)}" for name, score in {"set": self.score, **self.yardsticks}.items()]
        measured = f"val {metric.label}: {', '.join(scores)}{metric.unit}"
        gain = f"gain over the start {self._difference(self.gain, self.standard_error)}"
        if self.mark is not None:
            return f"{self.mark[0].upper()}{self.mark[1:]} ({measured}; {gain}). Ways out: {WAYS_OUT}."
        pick = ""
        if self.best_pick is not None:
            over = self._difference(self.gain_over_pick, self.pick_standard_error)
            pick = f", over {self.best_pick} {over}"
            if not self.beats_pick:
                pick += f": no better than {self._picked_images()} by {self.best_pick}"
        return f"{gain[0].upper()}{gain[1:]}{pick} ({measured})."

    def to_dict(self) -> dict[str, object]:
        """Return the result as plain data for a card; NaN becomes ``None``."""
        plain: dict[str, object] = without_nan({
            "measured": True,
            "beats_start": self.beats_start,
            "mark": self.mark,
            "sentence": self.sentence(),
            "split": "val",
            "metric": self.metric,
            "score": self.score,
            "yardsticks": dict(self.yardsticks),
            "gain": self.gain,
            "standard_error": self.standard_error,
            "best_pick": self.best_pick,
            "gain_over_best_pick": self.gain_over_pick,
            "standard_error_over_best_pick": self.pick_standard_error,
            "beats_best_pick": self.beats_pick,
            "images": self.images,
            "groups": self.groups,
            "protocol": self.protocol,
            "architectures": list(self.architectures),
            "seeds": list(self.seeds),
        })  # fmt: skip
        return plain

    def _picked_images(self) -> str:
        if len(set(self.counts)) == 1:
            return f"{self.counts[0]} picked image{'s' * (self.counts[0] != 1)} a class"
        return f"{sum(self.counts)} picked images"

    def _difference(self, value: float, error: float) -> str:
        metric = get_metric(self.metric, self.spec)
        return f"{metric.text(value, '+')} ± {metric.text(error)}{' points' if metric.percent else ''}"


def check_gain(
    synthetic_set: LabeledSet,
    start: LabeledSet,
    picks: Mapping[str, Callable[[int], LabeledSet]],
    evaluator: StudentEvaluator,
    batches: Batches,
    device: torch.device | str = "cpu",
    *,
    bf16: bool = False,
    metric: str = "acc",
    init: str = "real",
    groups: Tensor | None = None,
    sharded: bool = False,
    on_epoch: ProgressCallback = lambda: None,
) -> GainCheck:
    """Score a set, its start and coresets with the same new students on the same validation images.

    The students have the seeds that follow the evaluator's. Those that selected the set among several are thereby left
    out: scores of the selecting students are too high for the selected set. The images are those of the selection, so
    that a part of this advantage remains; the test split is never used. A yardstick with the images and labels of
    another one is not trained again.

    Args:
        synthetic_set: Set as it is exported.
        start: Initial set with the same labels and the same kind of soft labels and learning rate.
        picks: Sampler of each coreset by name, see `baselines.coreset_sampler`.
        evaluator: Number, architectures and protocol of the students.
        batches: Validation images ``(B, C, H, W)`` in pixel units and labels; iterated once for each set.
        device: Device to compute on.
        bf16: Whether to run the forward pass in bfloat16.
        metric: Name of a metric in `registry.METRICS`.
        init: Initialisation of the images, for the sentence: ``noise`` or the selection of real images.
        groups: Number of the patient or lesion of each validation image, ``(N,)``.
        sharded: Whether each rank of ``torch.distributed`` trains its share of the students. Every rank must call the
            function with the same images and gets the same result.
        on_epoch: Function that is called after every epoch of every student: at most
            ``epochs_on_this_rank(sharded) * (2 + len(picks))`` times.

    Returns:
        Scores, gains and their standard errors.

    Raises:
        ValueError: The task has no such metric, or there are fewer than two validation images or groups.
    """
    spec, students = synthetic_set.spec, following_students(evaluator)
    sign = -1 if get_metric(metric, spec).higher_is_better is False else 1
    known: list[tuple[LabeledSet, Predictions]] = []

    def predict(make: Callable[[int], LabeledSet], fixed: bool = True) -> Predictions:
        first = make(0)
        for other, result in known:
            if fixed and _equal(first, other):
                return result
        trained = students.train(make, device=device, bf16=bf16, on_epoch=on_epoch, sharded=sharded).update_all(batches)
        predictions = trained.predictions("val", groups)
        known.extend([(first, predictions)] * fixed)
        return predictions

    results = {"set": predict(lambda _: synthetic_set), START: predict(lambda _: start)}
    results |= {name: predict(make, fixed=name != "random") for name, make in picks.items()}
    scores = {name: _score(result, metric) for name, result in results.items()}
    best = max(picks, key=lambda name: (not math.isnan(scores[name]), sign * scores[name]), default=None)
    targets = results["set"].targets
    return GainCheck(
        metric=metric,
        score=scores["set"],
        yardsticks={name: score for name, score in scores.items() if name != "set"},
        gain=sign * (scores["set"] - scores[START]),
        standard_error=paired_standard_error(results["set"], results[START], metric),
        best_pick=best,
        gain_over_pick=math.nan if best is None else sign * (scores["set"] - scores[best]),
        pick_standard_error=math.nan if best is None else paired_standard_error(results["set"], results[best], metric),
        counts=torch.bincount(synthetic_set.labels, minlength=len(spec.balance_groups)).tolist(),
        init=init,
        images=len(targets),
        groups=None if groups is None else len(groups.unique()),
        protocol=students.protocol.name,
        architectures=results["set"].architectures,
        seeds=results["set"].seeds,
        spec=spec,
    )


def following_students(evaluator: StudentEvaluator) -> StudentEvaluator:
    """Return an evaluator with equally many students of the next seeds; compiled networks are shared."""
    students = copy(evaluator)
    students.seeds = [seed + len(evaluator.seeds) for seed in evaluator.seeds]
    return students


def _score(predictions: Predictions, metric: str) -> float:
    outputs = StudentOutputs(predictions.logits, predictions.targets, predictions.spec)
    return get_metric(metric, predictions.spec).score(outputs)


def _equal(a: LabeledSet, b: LabeledSet) -> bool:
    """Return whether two sets train equal students."""
    soft = (a.soft_labels, b.soft_labels)
    same_soft = soft[0] is soft[1] or (soft[0] is not None and soft[1] is not None and torch.equal(soft[0], soft[1]))
    same_kind = (a.lr, a.formation, a.spec, a.pixels.dtype) == (b.lr, b.formation, b.spec, b.pixels.dtype)
    return same_kind and same_soft and torch.equal(a.pixels, b.pixels) and torch.equal(a.labels, b.labels)
