"""Contents of the report's section of one file of predictions. The templates turn them into HTML and escape them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_distill.evaluation.labels import SOFT, display_name, name_of_file
from lightning_distill.evaluation.metrics.classification import compute_metrics
from lightning_distill.evaluation.metrics.intervals import bootstrap_interval, student_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.registry import METRICS
from lightning_distill.report.captions import (
    CaptionedFigure,
    confusion_caption,
    recall_caption,
    reliability_caption,
)
from lightning_distill.report.redact import plain, redact_paths
from lightning_distill.report.tables import PlainTable, estimates_table
from lightning_distill.visualization.figures import figures
from lightning_distill.visualization.style import svg_picture

#: Scores in the table above the figures of predictions.
HEADLINE = {"acc": "accuracy, %", "balanced_acc": "balanced accuracy, %", "auroc": "AUROC, %"}
CAPTIONS = {"confusion": confusion_caption, "reliability": reliability_caption, "recall": recall_caption}


@dataclass(frozen=True)
class PredictionsSection:
    """Scores and figures computed from one file of predictions.

    Args:
        trained_on: Name of the set or baseline that the students were trained on.
        about: Data, number of images and students, networks and seeds.
        table: Scores with intervals over students and over test images.
        figures: Confusion matrix, reliability diagram and recall of each class.
    """

    trained_on: str
    about: str
    table: PlainTable
    figures: Sequence[CaptionedFigure]


def predictions_section(name: str, predictions: Predictions, run: str) -> PredictionsSection:
    """Collect scores and figures of one file of predictions.

    Args:
        name: Name of the file without its suffix.
        predictions: Logits and targets.
        run: Name of the run.
    """
    spec, students, groups = predictions.spec, len(predictions.logits), predictions.groups
    clusters = "" if groups is None else f" of {len(groups.unique()):,} patients, lesions or volumes"
    networks = ", ".join(dict.fromkeys(predictions.architectures))
    seeds = ", ".join(map(str, predictions.seeds))
    about = (
        f"{spec.name} ({plain(spec.source)}), {len(predictions.targets):,} images{clusters} of the {predictions.split} "
        f"split; {students} student{'s' * (students != 1)} ({networks}), seeds {seeds}; {run}."
    )
    if predictions.trained_on:
        about += f" {predictions.trained_on} of the images are among those that the set was trained on: the scores say "
        about += "nothing about new images."
    return PredictionsSection(
        trained_on=display_name(name_of_file(name.removesuffix(SOFT)), soft=name.endswith(SOFT)),
        about=redact_paths(about),
        table=_headline_table(predictions),
        figures=[
            CaptionedFigure(svg_picture(figure), CAPTIONS[key](predictions))
            for key, figure in figures(predictions).items()
        ],
    )


def _headline_table(predictions: Predictions) -> PlainTable:
    scores = [compute_metrics(logits, predictions.targets, predictions.spec) for logits in predictions.logits]
    level = 0.95 if len(scores) > 1 else None
    over_students = {
        label: student_interval([values[metric] for values in scores], level, METRICS[metric].bounds)
        for metric, label in HEADLINE.items()
    }
    over_images = {HEADLINE[metric]: bootstrap_interval(predictions, metric) for metric in ("acc", "balanced_acc")}
    unit = "over images" if predictions.groups is None else "over groups, such as patients"
    caption = "Mean ± standard deviation over students and standard error over images, each with its 95 % interval."
    return estimates_table(caption, {"over students": over_students, unit: over_images})
