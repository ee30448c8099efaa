"""Captions of the report's figures: how to read them, and their main numbers with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from lightning_distill.evaluation.metrics.intervals import Estimate, student_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.probability_errors import BINS
from lightning_distill.report.results import THEMES, Group, Result
from lightning_distill.visualization.figures import BOTH, COUNTS, confusion, recall
from lightning_distill.visualization.format import bracket
from lightning_distill.visualization.style import Picture


@dataclass(frozen=True)
class Caption:
    """Caption of a figure.

    Args:
        alt: Alternative text of the picture.
        title: Title in bold.
        text: Text after the title; a plain ``str`` is escaped by the template.
    """

    alt: str
    title: str
    text: str


@dataclass(frozen=True)
class CaptionedFigure:
    """Figure with its caption.

    Args:
        picture: Figure as a ``data:`` URI.
        caption: Alternative text, title and text.
    """

    picture: Picture
    caption: Caption


def score_against_ipc_caption(group: Group, name: str) -> Caption:
    """Describe a score against images per class: the highest mean at each size beside that of a random subset.

    Args:
        group: Rows that may be compared.
        name: CSV column of the score.
    """
    score = THEMES["Scores"][name].name.removesuffix(", %")
    text = Markup("Marks are means over students, bars their 95 % intervals.")
    if any(math.isinf(row.ipc) for row in group.results) and len(group.by_size()) > 2:
        text += " The horizontal line is all real data."
    best = [
        sentence
        for size, rows in group.by_size().items()
        if math.isfinite(size) and (sentence := _highest_mean(rows, name, size))
    ]
    if best:
        text += Markup(" Highest mean {}.").format(Markup("; ").join(best))
    return Caption(
        f"{score} against images per class on {group.alike['dataset']}", f"{score.capitalize()} against size", text
    )


def confusion_caption(predictions: Predictions) -> Caption:
    """Describe a confusion matrix: how to read it, and the most frequent mistake."""
    counts, names = confusion(predictions), predictions.spec.class_names
    k = len(names)
    mistakes = counts / counts.sum(1, keepdims=True).clip(1) * (1 - np.eye(k))
    i, j = divmod(int(mistakes.argmax()), k)
    pooled = f"pooled over {len(predictions.logits)} students \u00d7 {len(predictions.targets):,} images"
    numbers = ("small numbers are counts", "numbers are counts", "darker is more")[(k > BOTH) + (k > COUNTS)]
    text = f"Each row is a true class and sums to 100 %; {numbers}, {pooled}."
    if mistakes[i, j] > 0:
        text += f" Most frequent mistake: {names[i]} predicted as {names[j]}, {100 * mistakes[i, j]:.0f} %."
    return Caption("Confusion matrix", "Confusion matrix", text)


def reliability_caption(predictions: Predictions) -> Caption:
    """Describe a reliability diagram: how to read it."""
    if predictions.spec.task == "multi-label":
        share = "Share of images that have a label, against its predicted probability"
    else:
        share = "Share of correct predictions, against their confidence"
    return Caption(
        "Reliability diagram",
        "Reliability",
        f"{share}, in {BINS} bins pooled over students; dots are at the mean of each bin. On the dashed line "
        "confidence equals accuracy; below it students are overconfident. The grey bars show the share of predictions "
        "in each bin. ECE is the mean distance from the line, ± over students.",
    )


def recall_caption(predictions: Predictions) -> Caption:
    """Describe the recall of each class: how to read it, the lowest value, and classes without recall."""
    recalls = recall(predictions)
    text = Markup("Pale dots are students, the bar is their mean with its 95 % interval.")
    if recalls:
        worst = min(recalls, key=lambda name: sum(recalls[name]))
        value = student_interval(recalls[worst], 0.95 if len(recalls[worst]) > 1 else None, (0, 1))
        text += Markup(" Lowest: {}, {}.").format(worst, _number(value))
    if undefined := [name for name in predictions.spec.class_names if name not in recalls]:
        text += f" Without recall: {', '.join(undefined)}."
    return Caption("Recall of each class", "Recall", text)


def _highest_mean(rows: Sequence[Result], name: str, size: float) -> Markup:
    """``at 10 per class: DM, 86.6 [85.8, 87.3], beside 81.1 [77.4, 84.9] of a random subset``; empty for one row."""
    values = [(value, row) for row in rows if (value := row.measured(name)) is not None]
    if len(values) < 2:
        return Markup()
    best, winner = max(values, key=lambda pair: pair[0].mean)
    random = [value for value, row in values if row.key == ("random", winner.soft) and row is not winner]
    text = Markup("at {} per class: {}, {}").format(f"{size:g}", winner.name, _number(best))
    return text + Markup(", beside {} of a random subset").format(_number(random[0])) if random else text


def _number(value: Estimate) -> Markup:
    interval = bracket(value) or "(no interval)"
    return Markup('<span class="num">{}</span>').format(escape(f"{value.mean * 100:.1f} {interval}"))
