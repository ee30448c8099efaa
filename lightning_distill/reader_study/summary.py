"""Scores in words: one sentence for each set, and what was missing, double or too few."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lightning_distill.reader_study.answers import Answers
from lightning_distill.reader_study.key import Key
from lightning_distill.reader_study.power import power, trials_needed
from lightning_distill.reader_study.scoring import ALL, Score

#: True accuracies whose needed numbers of answers are stated.
SHOWN_ACCURACIES = (0.6, 0.65, 0.7)


def sentence(score: Score, readers: int) -> str:
    """Return the result of all readers on one set as a sentence.

    The interval takes the wider end of the exact one and of the bootstrap. Where it holds 50 %, this is no evidence
    that the images are alike: the sentence names the shares that fit the answers.

    Args:
        score: Row of all readers.
        readers: Number of readers.
    """
    low, high = np.fmin(score.exact_low, score.low), np.fmax(score.exact_high, score.high)
    who = "one reader was" if readers == 1 else f"{readers} readers were"
    what = "all sets" if score.set == ALL else score.set
    text = (
        f"{what}: {who} right in {_percent(score.accuracy)} % of {score.answers} answers (95 % interval "
        f"{_percent(low)} to {_percent(high)} %; chance is 50 %)"
    )
    if low > 0.5:
        return f"{text}: more often than by chance."
    if high < 0.5:
        return f"{text}: less often than by chance, so they see a difference and name it wrongly."
    return (
        f"{text}. That is not above chance, which is no evidence that the images are alike: every share from "
        f"{_percent(low)} to {_percent(high)} % fits the answers."
    )


def power_text(trials: int, readers: int) -> str:
    """Return what a number of answers can show, and the numbers that usual accuracies need.

    Args:
        trials: Number of answers of a reader.
        readers: Number of readers.
    """
    total = trials * readers
    chances = ", ".join(f"{float(power(total, p)):.0%} at {p:.0%}" for p in SHOWN_ACCURACIES).replace("%", " %")
    needed = ", ".join(f"{trials_needed(p)} at {p:.0%}" for p in SHOWN_ACCURACIES).replace("%", " %")
    return (
        f"{total} answers, taken as independent, find a true accuracy with power {chances}; 80 % power needs {needed} "
        "right. Answers of several readers to one image are not independent: plan for more."
    )


def count_lines(answers: Answers, key: Key) -> list[str]:
    """Return a line for each reader with missing or duplicate answers, and one for absent readers.

    Args:
        answers: Answers of all readers.
        key: Key of the study.
    """
    lines = []
    for reader in answers.readers:
        parts = []
        if missing := answers.missing[reader]:
            parts.append(f"{missing} of {len(key.trials) + len(key.repeats)} answers missing")
        if duplicates := answers.duplicates.get(reader, 0):
            differ = answers.contradictions.get(reader, 0)
            parts.append(f"{duplicates} duplicate answers, {differ} of them different; the first counts")
        if parts:
            lines.append(f"{reader}: {'; '.join(parts)}")
    if absent := [reader for reader in key.readers if reader not in answers.readers]:
        lines.append(f"no answers of {', '.join(absent)}")
    return lines


def plain_scores(scores: Sequence[Score]) -> list[dict[str, object]]:
    """Return scores as plain data for JSON, with ``None`` for a measure that does not apply."""
    return [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in vars(score).items()}
        for score in scores
    ]


def plain_counts(answers: Answers) -> Mapping[str, object]:
    """Return the counts of missing and duplicate answers by reader as plain data."""
    return {
        reader: {
            "missing": answers.missing[reader],
            "duplicates": answers.duplicates.get(reader, 0),
            "contradictions": answers.contradictions.get(reader, 0),
        }
        for reader in answers.readers
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
