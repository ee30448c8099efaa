"""``RandomBaseline``: students of random real images, measured once for each stage and kept in checkpoints."""

from __future__ import annotations

import torch
from lightning import Trainer

from lightning_distill.callbacks._data_source import training_images
from lightning_distill.callbacks._image_space import statistics_for
from lightning_distill.callbacks.evaluated_set import EvaluatedSet
from lightning_distill.callbacks.progress import student_progress
from lightning_distill.evaluation import LabeledSet, StudentEvaluator, TrainedStudents, coreset_sampler
from lightning_distill.spec import DataSpec


class RandomBaseline:
    """Accuracy of students of random real images, with equally many images per class as the evaluated set.

    Attributes:
        accs: Mean accuracy over students, by all that it depends on.
        trained: Students that are trained and not scored completely yet.
    """

    def __init__(self) -> None:
        self.accs: dict[str, float] = {}
        self.trained: TrainedStudents | None = None
        self._key = ""

    @property
    def acc(self) -> float | None:
        """Accuracy for the evaluation that was selected last; ``None`` if it is not measured."""
        return self.accs.get(self._key)

    def select(self, stage: str, evaluated: EvaluatedSet, evaluator: StudentEvaluator) -> None:
        """Select the baseline of an evaluation.

        Args:
            stage: ``val`` or ``test``.
            evaluated: Evaluated set.
            evaluator: Evaluator of the set.
        """
        self._key = f"{stage}, {_key(evaluated.data, evaluated.train_spec, evaluator)}"

    def train(
        self,
        trainer: Trainer,
        evaluated: EvaluatedSet,
        evaluator: StudentEvaluator,
        device: torch.device | str,
        bf16: bool,
        sharded: bool,
    ) -> None:
        """Train the students of the selected baseline, unless it is measured already or there are no training data.

        Args:
            trainer: Trainer in a validation or test.
            evaluated: Evaluated set.
            evaluator: Evaluator of the set.
            device: Device to compute on.
            bf16: Whether to run the forward pass in bfloat16.
            sharded: Whether each rank trains its share of the students.
        """
        if self.acc is not None:
            return
        real = training_images(trainer, evaluated.train_spec)
        if real is None:
            return
        arrays, space = real
        spec = statistics_for(space, evaluated.train_spec)
        sampler = coreset_sampler("random", arrays, _counts(evaluated.data), spec, evaluator.seeds[0])
        epochs = evaluator.epochs_on_this_rank(sharded)
        with student_progress(trainer, epochs, "students of random subsets") as on_epoch:
            self.trained = evaluator.train(sampler, device=device, bf16=bf16, on_epoch=on_epoch, sharded=sharded)

    def finish(self) -> None:
        """Store the accuracy of the trained students and free them."""
        if self.trained is not None:
            self.accs[self._key] = self.trained.scores().mean("acc")
        self.trained = None


def _key(data: LabeledSet, train_spec: DataSpec, evaluator: StudentEvaluator) -> str:
    """Return all that the score of a random subset depends on, except the stage, as text."""
    statistics = f"mean {train_spec.mean}, std {train_spec.std}"
    students = f"{evaluator.protocol}, {evaluator.architectures}, {evaluator.seeds}"
    return f"{data.spec.name} {_counts(data)}, {statistics}, {students}"


def _counts(data: LabeledSet) -> list[int]:
    """Return the number of images of each balance group."""
    counts: list[int] = torch.bincount(data.labels, minlength=len(data.spec.balance_groups)).tolist()
    return counts
