"""``CandidateRunner``: train and score the candidates of one evaluation, and relate the set to its baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lightning_distill.evaluation.candidates import without_augmentation
from lightning_distill.evaluation.labels import display_name
from lightning_distill.evaluation.metrics.relative import RelativeScores
from lightning_distill.evaluation.result import (
    Candidate,
    EvaluationResult,
    EvaluationSplit,
    compare_to_baselines,
    evaluate_candidate,
)
from lightning_distill.utils.progress import ProgressCallback

#: Function that receives the description of a training and its number of epochs, and returns a function that is called
#: after each epoch.
StartCallback = Callable[[str, int], ProgressCallback]


class CandidateRunner:
    """Train and score candidates one after the other, baselines before the set.

    Args:
        images: Real images to score on.
        device: Device of training and scoring.
        bf16: Whether the forward pass runs in bfloat16.
        on_start: Function called before each training.
        ars: Whether the set and the random baseline are also trained without augmentation, for the
            augmentation-robust score.
        real_bytes: Size of the real training data in bytes.
        distillation_seconds: Seconds of the distillation; NaN if unknown.
        trained_on: Number of the scored images that the set was trained on.

    Attributes:
        results: Results of the candidates so far.
    """

    def __init__(
        self,
        images: EvaluationSplit,
        device: str,
        *,
        bf16: bool,
        on_start: StartCallback,
        ars: bool,
        real_bytes: float,
        distillation_seconds: float,
        trained_on: int = 0,
    ) -> None:
        self.images, self.device, self.bf16, self.on_start = images, device, bf16, on_start
        self.ars, self.real_bytes, self.distillation_seconds = ars, real_bytes, distillation_seconds
        self.trained_on = trained_on
        self.results: list[EvaluationResult] = []
        self._acc_without_augmentation: dict[tuple[str, str], float] = {}

    def run(self, candidate: Candidate) -> tuple[EvaluationResult, RelativeScores]:
        """Train and score one candidate.

        Args:
            candidate: Training data of the students.

        Returns:
            Scores and predictions, and scores relative to the earlier candidates, which are NaN for a baseline.
        """
        result = self._train(candidate)
        if candidate.distilled and self.trained_on:
            result = replace(result, predictions=replace(result.predictions, trained_on=self.trained_on))
        self.results.append(result)
        if self.ars and (candidate.distilled or candidate.name == "random"):
            plain = self._train(without_augmentation(candidate), ", no augmentation")
            self._acc_without_augmentation[candidate.name, candidate.labels] = plain.scores.mean("acc")
        if not candidate.distilled:
            return result, RelativeScores()
        relative = compare_to_baselines(
            result, self.results, self.real_bytes, self.distillation_seconds, self._acc_without_augmentation
        )
        return result, relative

    def _train(self, candidate: Candidate, note: str = "") -> EvaluationResult:
        name = display_name(candidate.name, soft=candidate.labels == "soft")
        description = f"{name}, {len(candidate.evaluator.seeds)} students{note}"
        on_epoch = self.on_start(description, candidate.evaluator.epochs)
        return evaluate_candidate(candidate, self.images, device=self.device, bf16=self.bf16, on_epoch=on_epoch)
