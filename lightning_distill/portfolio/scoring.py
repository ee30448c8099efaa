"""Students of a portfolio: short ones that select, new ones for the final scores, and their costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.evaluation.students.protocol import Protocol, get_protocol
from lightning_distill.evaluation.students.trained import TrainedStudents
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.labeled_set import LabeledSet

#: Number of students of a snapshot in the search.
SEARCH_STUDENTS = 2
#: Epochs from which the cost of students is estimated.
PROBE_EPOCHS = 4


class PortfolioStudents:
    """Students that score sets on the validation split.

    Students of the search take as many steps on a large set as the protocol takes on a set of one batch. `check_gain`
    gives the final students other seeds: scores of the students that selected a set are too high for it.

    Args:
        data: Data module with the validation images.
        protocol: Protocol of the final students, by name.
        students: Number of final students of each network.
        architectures: Networks of the students.
        seed: Seed of the first student of the search.
        device: Device of training and scoring.
        bf16: Whether to run the forward pass in bfloat16.
        compile: Mode of compilation of the students.

    Attributes:
        label: Function from a set to the set with the labels that students are trained on. Students of all real images
            keep the real labels.
    """

    label: Callable[[LabeledSet], LabeledSet] = staticmethod(lambda labeled_set: labeled_set)

    def __init__(
        self,
        data: ArrayDataModule,
        protocol: str,
        students: int,
        architectures: Sequence[str],
        seed: int,
        device: str,
        bf16: bool,
        compile: CompileMode,
    ) -> None:
        self.data, self.device, self.bf16 = data, device, bf16
        self.final = self._evaluator(get_protocol(protocol), students, architectures, seed, compile)
        self._search: dict[int, StudentEvaluator] = {}

    def for_search(self, images: int) -> StudentEvaluator:
        """Return the students that score a set of some images in the search."""
        final = self.final
        batches = -(-images // final.protocol.batch_size)
        if batches not in self._search:
            epochs = -(-(final.protocol.epochs + 1) // batches) - 1
            protocol = replace(final.protocol, name=f"{final.protocol.name}, one batch's steps", epochs=max(1, epochs))
            self._search[batches] = self._evaluator(
                protocol, SEARCH_STUDENTS, final.architectures, final.seeds[0], final.compile
            )
        return self._search[batches]

    def score(
        self,
        evaluator: StudentEvaluator,
        make_set: Callable[[int], LabeledSet],
        on_epoch: Callable[[], object] = lambda: None,
    ) -> Scores:
        """Train the students of an evaluator on a set with its labels, and score them on the validation split."""
        return self._score(evaluator, lambda student: self.label(make_set(student)), on_epoch)

    def full(self, students: int, real: LabeledSet, on_epoch: Callable[[], object] = lambda: None) -> Scores:
        """Train students on all real images, and score them on the validation split."""
        evaluator = self.for_real_data(students, len(real.labels))
        return self._score(evaluator, lambda _: real, on_epoch)

    def for_real_data(self, students: int, images: int) -> StudentEvaluator:
        """Return an evaluator for all real images."""
        final = self.final
        protocol = final.protocol.for_real_data(images)
        return self._evaluator(protocol, students, final.architectures, final.seeds[0], final.compile)

    def epoch_seconds(self, data: LabeledSet) -> tuple[float, float]:
        """Measure the seconds of an epoch on a set, and of scoring, for one student of every network."""
        protocol, final = replace(self.final.protocol, name="probe", epochs=PROBE_EPOCHS - 1), self.final
        evaluator = self._evaluator(protocol, 1, final.architectures, final.seeds[0], final.compile)
        ends: list[float] = []
        trained = self._train(evaluator, lambda _: data, lambda: ends.append(time.perf_counter()))
        began = time.perf_counter()
        trained.update_all(self.data.val_dataloader())
        scoring = time.perf_counter() - began
        return len(final.architectures) * (ends[-1] - ends[0]) / (len(ends) - 1), scoring

    def _score(
        self,
        evaluator: StudentEvaluator,
        make_set: Callable[[int], LabeledSet],
        on_epoch: Callable[[], object],
    ) -> Scores:
        return self._train(evaluator, make_set, on_epoch).update_all(self.data.val_dataloader()).scores()

    def _train(
        self,
        evaluator: StudentEvaluator,
        make_set: Callable[[int], LabeledSet],
        on_epoch: Callable[[], object],
    ) -> TrainedStudents:
        return evaluator.train(make_set, device=self.device, bf16=self.bf16, on_epoch=on_epoch)

    @staticmethod
    def _evaluator(
        protocol: Protocol, students: int, architectures: Sequence[str], seed: int, compile: CompileMode
    ) -> StudentEvaluator:
        return StudentEvaluator(protocol, students=students, architectures=architectures, seed=seed, compile=compile)
