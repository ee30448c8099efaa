"""Answers of one set as arrays: readers by trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_distill.reader_study.answers import Answer, Answers
from lightning_distill.reader_study.key import Key

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Matrices:
    """Answers to the trials of one set, NaN for a missing answer.

    Args:
        synthetic: Ratings ``(R, S)`` of the synthetic images; for pairs 5 for a right answer and -5 for a wrong one.
        real: Ratings ``(R, N)`` of the real images; ``(R, 0)`` for pairs.
        first: Codes ``(R, T)`` of the answers to all trials: the place among the possible answers.
        repeated: Codes ``(R, P, 2)`` of the answers to both showings of the repeated trials.
    """

    synthetic: Floats
    real: Floats
    first: Floats
    repeated: Floats

    def of_reader(self, index: int) -> Matrices:
        """Return the answers of one reader."""
        parts = (self.synthetic, self.real, self.first, self.repeated)
        return Matrices(*(part[index : index + 1] for part in parts))

    @property
    def size(self) -> int:
        """Number of trials."""
        return int(self.first.shape[1])


def answer_matrices(answers: Answers, key: Key, set_name: str | None) -> Matrices:
    """Arrange answers by reader and trial.

    Args:
        answers: Answers of all readers.
        key: Key of the study.
        set_name: Name of the set; ``None`` for all sets.
    """
    trials = [trial for trial in key.trials if set_name in (None, key.set_of(trial))]
    right = {trial: key.right_answer(trial) for trial in trials}
    repeats = [trial for trial in key.repeats if trial in right]

    def rating(reader: str, trial: str) -> float:
        answer = answers.answers.get((reader, trial, 1))
        if answer is None:
            return np.nan
        if key.design == "pairs":
            return 5.0 if answer.answer == right[trial] else -5.0
        return float(answer.confidence if answer.answer == "synthetic" else -answer.confidence)

    def code(reader: str, trial: str, showing: int) -> float:
        answer: Answer | None = answers.answers.get((reader, trial, showing))
        return np.nan if answer is None else float(key.possible_answers(trial).index(answer.answer))

    readers = answers.readers
    is_real = {trial: key.design == "yes_no" and right[trial] == "real" for trial in trials}

    def ratings(real: bool) -> Floats:
        own = [trial for trial in trials if is_real[trial] == real]
        rows = [[rating(reader, trial) for trial in own] for reader in readers]
        return np.array(rows).reshape(len(readers), len(own))

    first = np.array([[code(reader, trial, 1) for trial in trials] for reader in readers])
    both = [[[code(reader, trial, showing) for showing in (1, 2)] for trial in repeats] for reader in readers]
    return Matrices(ratings(False), ratings(True), first, np.array(both).reshape(len(readers), len(repeats), 2))
