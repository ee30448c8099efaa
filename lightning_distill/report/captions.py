"""What captions say: in plain words what one sees, and the numbers that stand out, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from lightning_distill.evaluation.metrics.intervals import Estimate, student_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.probability_errors import BINS
from lightning_distill.report.results import THEMES, Group, Result
from lightning_distill.visualization.figures import BOTH, COUNTS, confusion, recall
from lightning_distill.visualization.format import bracket

#: What a picture shows for those who cannot see it (text), and its caption (HTML).
Words = tuple[str, str]


def against_words(group: Group, name: str) -> Words:
    """Of a score against images per class: the highest mean at each size, beside that of a random subset."""
    score = THEMES["Scores"][name].name.removesuffix(", %")
    found = [
        text for size, rows in group.by_size().items() if math.isfinite(size) and (text := _highest(rows, name, size))
    ]
    highest = f" Highest mean {'; '.join(found)}." if found else ""
    alt = f"{score} against images per class on {group.alike['dataset']}"
    words = "Marks are means over students, bars their 95 % intervals."
    if any(math.isinf(row.ipc) for row in group.results) and len(group.by_size()) > 2:
        words += " The line across is all real data."
    return alt, f"<b>{escape(score.capitalize())} against size.</b> {words}{highest}"


def _highest(rows: Sequence[Result], name: str, size: float) -> str:
    """``at 10 per class: DM, 86.6 [85.8, 87.3], beside 81.1 [77.4, 84.9] of a random subset``, in HTML."""
    found = [(value, row) for row in rows if (value := row.measured(name)) is not None]
    if len(found) < 2:
        return ""
    best, first = max(found, key=lambda pair: pair[0].mean)
    drawn = [value for value, row in found if row.cells["trained_on"] == "random" and row is not first]
    beside = f", beside {_number(drawn[0])} of a random subset" if drawn else ""
    return f"at {size:g} per class: {escape(first.name)}, {_number(best)}{beside}"


def confusion_words(predictions: Predictions) -> Words:
    """Of a confusion matrix: how to read it, and the most frequent mistake."""
    counts, names = confusion(predictions), predictions.spec.class_names
    k = len(names)
    off = counts / counts.sum(1, keepdims=True).clip(1) * (1 - np.eye(k))
    i, j = divmod(int(off.argmax()), k)
    pooled = f"pooled over {len(predictions.logits)} students &times; {len(predictions.targets):,} images"
    numbers = ("small numbers are counts", "numbers are counts", "darker is more")[(k > BOTH) + (k > COUNTS)]
    text = f"<b>Confusion matrix.</b> Each row is a true class and sums to 100 %; {numbers}, {pooled}."
    if off[i, j] > 0:
        text += f" Most often mistaken: {escape(names[i])} for {escape(names[j])}, {100 * off[i, j]:.0f} %."
    return "Confusion matrix", text


def reliability_words(predictions: Predictions) -> Words:
    """Of a reliability diagram: how to read it."""
    several = predictions.spec.task == "multi-label"
    what = "images with that probability of a label have it" if several else "predictions of that confidence are right"
    return "Reliability diagram", (
        f"<b>Reliability.</b> How often {what}, in {BINS} bins pooled over students; dots are at the mean of each bin. "
        "On the dashed line students are as sure as they should be, below it too sure. The grey bars show where "
        "predictions lie. ECE is the mean distance from the line, ± over students."
    )


def recall_words(predictions: Predictions) -> Words:
    """Of recalls: how to read them, the lowest, and the classes that have none."""
    found = recall(predictions)
    text = "<b>Recall.</b> Pale dots are students, the bar is their mean with its 95 % interval."
    if found:
        worst = min(found, key=lambda name: sum(found[name]))
        known = student_interval(found[worst], 0.95 if len(found[worst]) > 1 else None)
        text += f" Lowest: {escape(worst)}, {_number(known)}."
    if lacking := [name for name in predictions.spec.class_names if name not in found]:
        text += f" Without recall: {escape(', '.join(lacking))}."
    return "Recall of each class", text


def _number(value: Estimate) -> str:
    known = bracket(value)
    return f"<span class=num>{value.mean * 100:.1f}{f' {known}' if known else ' (no interval)'}</span>"
